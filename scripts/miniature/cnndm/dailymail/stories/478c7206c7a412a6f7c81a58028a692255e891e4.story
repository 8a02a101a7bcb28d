Volunteers in Brookton closed the railway station last week.

Volunteers in Holmfield opened the water mill after the storm. Nobody was hurt

The museum in Carlow found the old bridge during the night.

The council in Granton opened a boat house last week.

@highlight

Volunteers in Brookton closed the railway station last week

@highlight

Volunteers in Holmfield opened the water mill after the storm
