DROP TABLE cluster_log;
DROP TABLE nodes;
DROP TABLE cluster;
