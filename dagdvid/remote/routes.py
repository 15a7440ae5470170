from dagdvid.routes import RouteTable
REMOTE=RouteTable(())
SYNC=RouteTable(())
