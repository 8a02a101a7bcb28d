A baker in Brookton painted the water mill after the storm.

A baker in Ashford sold a boat house last week. Nobody was hurt

Two engineers in Elmstead rebuilt a small library last week.

Two engineers in Brookton painted the old bridge in the spring.

@highlight

A baker in Brookton painted the water mill after the storm

@highlight

A baker in Ashford sold a boat house last week
