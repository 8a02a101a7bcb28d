Two engineers in Elmstead moved a small library last week.

A baker in Carlow moved a small library in the spring. Nobody was hurt

The museum in Carlow sold the railway station during the night.

Volunteers in Elmstead rebuilt the north gate before the holiday.

@highlight

Two engineers in Elmstead moved a small library last week

@highlight

A baker in Carlow moved a small library in the spring
