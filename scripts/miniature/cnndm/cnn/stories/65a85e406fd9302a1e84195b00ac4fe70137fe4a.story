A farmer in Carlow moved a small library before the holiday.

Volunteers in Holmfield closed a market hall on Monday. Nobody was hurt

The council in Holmfield closed the water mill last week.

Volunteers in Ashford moved a market hall last week.

@highlight

A farmer in Carlow moved a small library before the holiday

@highlight

Volunteers in Holmfield closed a market hall on Monday
