A baker in Carlow moved a small library during the night.

The school in Elmstead painted the town clock last week. Nobody was hurt

A baker in Ashford painted the town clock after the storm.

The school in Granton opened a market hall after the storm.

@highlight

A baker in Carlow moved a small library during the night

@highlight

The school in Elmstead painted the town clock last week
