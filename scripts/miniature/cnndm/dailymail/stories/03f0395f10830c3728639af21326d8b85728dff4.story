Volunteers in Granton rebuilt the water mill after the storm.

A baker in Ashford found the old bridge in the spring. Nobody was hurt

The school in Carlow repaired the railway station on Monday.

A farmer in Brookton opened the north gate on Monday.

@highlight

Volunteers in Granton rebuilt the water mill after the storm

@highlight

A baker in Ashford found the old bridge in the spring
