Two engineers in Granton found a market hall last week.

The fire service in Ashford rebuilt the water mill on Monday. Nobody was hurt

The school in Elmstead painted the old bridge after the storm.

A farmer in Brookton moved the railway station during the night.

@highlight

Two engineers in Granton found a market hall last week

@highlight

The fire service in Ashford rebuilt the water mill on Monday
