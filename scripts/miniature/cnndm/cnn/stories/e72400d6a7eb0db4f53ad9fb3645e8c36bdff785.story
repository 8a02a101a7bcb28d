The fire service in Brookton closed the railway station last week.

Volunteers in Elmstead rebuilt a small library in the spring. Nobody was hurt

The council in Farley opened the old bridge after the storm.

Volunteers in Farley closed a boat house before the holiday.

@highlight

The fire service in Brookton closed the railway station last week

@highlight

Volunteers in Elmstead rebuilt a small library in the spring
