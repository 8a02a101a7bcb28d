A farmer in Brookton rebuilt the north gate on Monday.

Two engineers in Elmstead found a boat house after the storm. Nobody was hurt

Two engineers in Carlow moved a market hall in the spring.

A farmer in Farley moved a small library before the holiday.

@highlight

A farmer in Brookton rebuilt the north gate on Monday

@highlight

Two engineers in Elmstead found a boat house after the storm
