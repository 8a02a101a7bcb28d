A baker in Brookton opened the water mill on Monday.

The school in Granton sold a boat house on Monday. Nobody was hurt

A farmer in Granton painted a small library after the storm.

The museum in Farley repaired the north gate after the storm.

@highlight

A baker in Brookton opened the water mill on Monday

@highlight

The school in Granton sold a boat house on Monday
