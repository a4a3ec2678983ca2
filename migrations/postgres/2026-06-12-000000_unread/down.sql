DROP TABLE chat_readers;
DROP TABLE unread_users;
DROP TABLE unread_orders;
