A baker in Brookton opened the old bridge on Monday.

The fire service in Ashford painted the water mill during the night. Nobody was hurt

Two engineers in Ashford found the north gate last week.

A baker in Denby painted a market hall before the holiday.

@highlight

A baker in Brookton opened the old bridge on Monday

@highlight

The fire service in Ashford painted the water mill during the night
