The fire service in Carlow moved the town clock on Monday.

Two engineers in Ashford found the town clock during the night. Nobody was hurt

The fire service in Ashford painted a boat house on Monday.

The fire service in Denby painted the north gate on Monday.

@highlight

The fire service in Carlow moved the town clock on Monday

@highlight

Two engineers in Ashford found the town clock during the night
