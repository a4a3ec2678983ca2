DROP TABLE bans;
DROP TABLE messages;
DROP TABLE orders;
