//! The tables, as `migrations/` makes them on both databases.

diesel::table! {
    /// One row per order; a deleted one stays as a tombstone with `last_seq` and `rev`.
    orders (id) {
        /// The order's id.
        id -> Text,
        /// What the back end calls its state; null until one has set it.
        status -> Nullable<Text>,
        /// The assigned driver.
        driver_id -> Nullable<Text>,
        /// The assigned driver's name.
        driver_name -> Nullable<Text>,
        /// When it reached a terminal status.
        ended_at_ms -> Nullable<BigInt>,
        /// The highest number given to a message.
        last_seq -> BigInt,
        /// Raised by every change of status, driver or participants.
        rev -> BigInt,
        /// The back end's own version of the order.
        version -> Nullable<BigInt>,
        /// JSON of the last position.
        last_location -> Nullable<Text>,
        /// When the hub first wrote it.
        created_at_ms -> BigInt,
        /// When the hub last wrote it.
        updated_at_ms -> BigInt,
        /// When it became a tombstone.
        deleted_at_ms -> Nullable<BigInt>,
        /// Whether it ever had an assigned driver.
        dispatched -> Bool,
        /// After a deletion: chat up to this number is still to be removed, and nobody reads it.
        purge_to -> Nullable<BigInt>,
        /// After a deletion: points of the trail up to this time are to be removed, and nobody sees
        /// positions from before it. Of an order that was made again the time when it was.
        purge_trail_ms -> Nullable<BigInt>,
        /// Since when customers see the driver.
        shown_since_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    /// Who takes part in an order, as back ends say; a removed one stays as a tombstone.
    participants (order_id, user_id) {
        /// The order.
        order_id -> Text,
        /// Who takes part.
        user_id -> Text,
        /// As what.
        role -> Text,
        /// Under which name, where one was given.
        name -> Nullable<Text>,
        /// Whether the user was taken out, whatever a token says.
        removed -> Bool,
    }
}

diesel::allow_tables_to_appear_in_same_query!(orders, participants, messages);

diesel::table! {
    /// Stored chat, numbered 1, 2, 3 … per order.
    messages (order_id, seq) {
        /// The order it belongs to.
        order_id -> Text,
        /// Its place in the order.
        seq -> BigInt,
        /// `UUIDv7`, unique over all orders.
        id -> Text,
        /// Who wrote it.
        sender_id -> Text,
        /// The sender's name at that time.
        sender_name -> Text,
        /// The sender's role at that time.
        sender_role -> Text,
        /// `TEXT`, `IMAGE` or `SYSTEM`.
        kind -> Text,
        /// What was written.
        content -> Text,
        /// The sender's own key, by which a retry is recognised.
        client_msg_id -> Nullable<Text>,
        /// When the hub admitted it.
        created_at_ms -> BigInt,
    }
}

diesel::table! {
    /// How far users have read.
    read_marks (order_id, user_id) {
        /// The order.
        order_id -> Text,
        /// Who has read.
        user_id -> Text,
        /// The highest message that was read.
        seq -> BigInt,
    }
}

diesel::table! {
    /// Where drivers were.
    trail (order_id, at_ms, driver_id) {
        /// The order.
        order_id -> Text,
        /// When, by the phone's clock where it said so.
        at_ms -> BigInt,
        /// Who.
        driver_id -> Text,
        /// Latitude in degrees.
        lat -> Double,
        /// Longitude in degrees.
        lng -> Double,
        /// Radius in metres.
        accuracy -> Nullable<Double>,
        /// Degrees from north, clockwise.
        heading -> Nullable<Double>,
        /// Metres per second.
        speed -> Nullable<Double>,
        /// Metres.
        altitude -> Nullable<Double>,
    }
}

diesel::table! {
    /// Who may not come in.
    bans (order_id, user_id) {
        /// The order, or an empty text for the whole hub.
        order_id -> Text,
        /// The banned user.
        user_id -> Text,
        /// When the ban ends.
        until_ms -> BigInt,
        /// What the user is told.
        reason -> Text,
    }
}

diesel::table! {
    /// Sessions that a node had when it stopped, to be taken up again.
    resumes (pid) {
        /// Under what the client asks for it.
        pid -> Text,
        /// Whose it is.
        user_id -> Text,
        /// JSON of the session's record.
        record -> Text,
        /// When nobody can have it any more.
        expires_at_ms -> BigInt,
    }
}

diesel::table! {
    /// Whose tokens no longer count.
    revocations (user_id) {
        /// Whose.
        user_id -> Text,
        /// Those that were issued before this.
        issued_before_ms -> BigInt,
    }
}

diesel::table! {
    /// What callers were answered under keys of their own.
    idempotency (caller, route, key) {
        /// Who called.
        caller -> Text,
        /// What was called.
        route -> Text,
        /// The caller's key.
        key -> Text,
        /// SHA-256 of the body that came with it.
        body_hash -> Text,
        /// The status of the answer; 0 as long as there is none.
        status -> Integer,
        /// Its body.
        answer -> Text,
        /// When the key may be used anew.
        expires_at_ms -> BigInt,
    }
}
