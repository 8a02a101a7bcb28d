A farmer in Granton moved a small library during the night.

The council in Brookton opened the railway station after the storm. Nobody was hurt

Volunteers in Holmfield sold a small library last week.

A farmer in Farley sold the town clock in the spring.

@highlight

A farmer in Granton moved a small library during the night

@highlight

The council in Brookton opened the railway station after the storm
