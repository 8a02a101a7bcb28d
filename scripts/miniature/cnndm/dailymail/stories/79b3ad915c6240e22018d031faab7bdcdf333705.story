The council in Brookton moved the old bridge last week.

A farmer in Ashford closed a small library on Monday. Nobody was hurt

Two engineers in Denby closed the town clock on Monday.

The school in Holmfield painted the town clock during the night.

@highlight

The council in Brookton moved the old bridge last week

@highlight

A farmer in Ashford closed a small library on Monday
