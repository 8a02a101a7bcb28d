The council in Denby painted a market hall before the holiday.

A baker in Farley found the railway station during the night. Nobody was hurt

The fire service in Ashford sold a market hall before the holiday.

Volunteers in Ashford rebuilt a market hall last week.

@highlight

The council in Denby painted a market hall before the holiday

@highlight

A baker in Farley found the railway station during the night
