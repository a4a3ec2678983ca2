//! The id by which the hubs of one database find each other on their Redis.

use diesel::prelude::*;
use diesel::sql_types::Text;
use uuid::Uuid;

use super::connection::DbConnection;

/// The id, which is random and the same for all hubs of this database. The first hub that asks
/// stores it. SQLite has no such table: its hub is alone.
///
/// # Errors
/// If a query fails.
pub fn id(connection: &mut DbConnection) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        id: String,
    }
    // Two statements: one that inserts nothing would not see a row that another hub adds meanwhile.
    diesel::sql_query("INSERT INTO cluster (id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind::<Text, _>(Uuid::new_v4().simple().to_string())
        .execute(connection)?;
    diesel::sql_query("SELECT id FROM cluster").get_result(connection).map(|Row { id }| id)
}
