The fire service in Granton sold a boat house last week.

A farmer in Farley found a small library in the spring. Nobody was hurt

A baker in Granton found the old bridge before the holiday.

The museum in Ashford closed the town clock in the spring.

@highlight

The fire service in Granton sold a boat house last week

@highlight

A farmer in Farley found a small library in the spring
