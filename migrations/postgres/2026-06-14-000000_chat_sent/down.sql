DROP TABLE chat_sent;
