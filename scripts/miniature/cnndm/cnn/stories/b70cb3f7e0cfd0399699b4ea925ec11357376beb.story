The council in Elmstead closed a small library in the spring.

A farmer in Elmstead rebuilt the water mill last week. Nobody was hurt

The museum in Denby moved the north gate last week.

The council in Granton found a market hall during the night.

@highlight

The council in Elmstead closed a small library in the spring

@highlight

A farmer in Elmstead rebuilt the water mill last week
