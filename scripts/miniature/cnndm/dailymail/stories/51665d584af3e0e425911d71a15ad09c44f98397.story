

@highlight

Two engineers in Holmfield repaired the old bridge on Monday

@highlight

The school in Carlow sold a market hall after the storm
