The council in Brookton moved the water mill after the storm.

Two engineers in Granton moved a small library after the storm. Nobody was hurt

The fire service in Denby opened a market hall on Monday.

The school in Granton opened the town clock before the holiday.

@highlight

The council in Brookton moved the water mill after the storm

@highlight

Two engineers in Granton moved a small library after the storm
