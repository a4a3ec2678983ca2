// The service that apps with Socket.IO have written for themselves, on top of a hub: the methods that
// their screens call, and `on`, so that an app moves over file by file.
