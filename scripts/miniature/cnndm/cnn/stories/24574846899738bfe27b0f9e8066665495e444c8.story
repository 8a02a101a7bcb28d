The museum in Granton found the old bridge after the storm.

The museum in Granton opened the town clock in the spring. Nobody was hurt

The school in Farley rebuilt the water mill in the spring.

A farmer in Elmstead closed a boat house during the night.

@highlight

The museum in Granton found the old bridge after the storm

@highlight

The museum in Granton opened the town clock in the spring
