//! The tables, as `migrations/` makes them on both databases.

diesel::table! {
    /// One row per order; a deleted one stays as a tombstone with `last_seq` and `rev`.
    orders (id) {
        /// The order's id.
        id -> Text,
        /// The back end's name for the order's state; null until one has set it.
        status -> Nullable<Text>,
        /// The assigned driver.
        driver_id -> Nullable<Text>,
        /// The assigned driver's name.
        driver_name -> Nullable<Text>,
        /// When the order reached a terminal status.
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
        /// When the row became a tombstone.
        deleted_at_ms -> Nullable<BigInt>,
        /// Whether the order ever had an assigned driver.
        dispatched -> Bool,
        /// After a deletion: chat up to this number is still to be removed, and cannot be read.
        purge_to -> Nullable<BigInt>,
        /// After a deletion: points of the trail up to this time are to be removed, and earlier
        /// positions are not shown. If the order was made again, the time of that.
        purge_trail_ms -> Nullable<BigInt>,
        /// Since when customers see the driver.
        shown_since_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    /// Participants of orders, as set by back ends; a removed one stays as a tombstone.
    participants (order_id, user_id) {
        /// The order.
        order_id -> Text,
        /// The participant.
        user_id -> Text,
        /// The participant's role.
        role -> Text,
        /// The participant's name, if one was given.
        name -> Nullable<Text>,
        /// Whether the user was removed; overrides what a token says.
        removed -> Bool,
    }
}

diesel::allow_tables_to_appear_in_same_query!(orders, participants, messages);

diesel::table! {
    /// Stored chat, numbered 1, 2, 3 … per order.
    messages (order_id, seq) {
        /// The order it belongs to.
        order_id -> Text,
        /// Its number in the order.
        seq -> BigInt,
        /// `UUIDv7`, unique over all orders.
        id -> Text,
        /// The author.
        sender_id -> Text,
        /// The sender's name at that time.
        sender_name -> Text,
        /// The sender's role at that time.
        sender_role -> Text,
        /// `TEXT`, `IMAGE` or `SYSTEM`.
        kind -> Text,
        /// The text, or where the image is.
        content -> Text,
        /// The sender's own key, by which a retry is recognised.
        client_msg_id -> Nullable<Text>,
        /// When the hub admitted it.
        created_at_ms -> BigInt,
    }
}

diesel::table! {
    /// Of messages that a hook has changed, a keyed hash of what was sent.
    chat_sent (order_id, seq) {
        /// The order.
        order_id -> Text,
        /// The message's number.
        seq -> BigInt,
        /// The hash.
        hash -> Text,
    }
}

diesel::table! {
    /// How far users have read.
    read_marks (order_id, user_id) {
        /// The order.
        order_id -> Text,
        /// The reader.
        user_id -> Text,
        /// The highest message that was read.
        seq -> BigInt,
    }
}

diesel::table! {
    /// Orders in which a message may be unread.
    unread_orders (order_id) {
        /// The order.
        order_id -> Text,
        /// When it is to be looked at again.
        due_at_ms -> BigInt,
        /// Raised by every message.
        version -> BigInt,
    }
}

diesel::table! {
    /// What was shown to users, as far as receipts do not say it.
    unread_users (order_id, user_id) {
        /// The order.
        order_id -> Text,
        /// The user.
        user_id -> Text,
        /// The role by which a token let the user in.
        role -> Nullable<Text>,
        /// When that was last.
        joined_at_ms -> Nullable<BigInt>,
        /// The newest message that a joined connection was sent.
        shown_seq -> BigInt,
        /// The newest message of which an endpoint was told that it is unread.
        told_seq -> BigInt,
        /// When that was.
        told_at_ms -> BigInt,
    }
}

diesel::table! {
    /// Users whose apps tell what was read.
    chat_readers (user_id) {
        /// The user.
        user_id -> Text,
    }
}

diesel::table! {
    /// Positions of drivers over time.
    trail (order_id, at_ms, driver_id) {
        /// The order.
        order_id -> Text,
        /// When, by the phone's clock if the phone gave a time.
        at_ms -> BigInt,
        /// The driver.
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
    /// Users who may not enter.
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
    /// Session records of a node that stopped, to be resumed.
    resumes (pid) {
        /// The private id by which the client asks for it.
        pid -> Text,
        /// The session's user.
        user_id -> Text,
        /// JSON of the session's record.
        record -> Text,
        /// When the record can no longer be taken.
        expires_at_ms -> BigInt,
    }
}

diesel::table! {
    /// Users whose earlier tokens are not valid any more.
    revocations (user_id) {
        /// The user.
        user_id -> Text,
        /// Tokens that were issued before this are not valid.
        issued_before_ms -> BigInt,
    }
}

diesel::table! {
    /// Answers to idempotent calls.
    idempotency (caller, route, key) {
        /// The caller.
        caller -> Text,
        /// The route, with the ids in its path.
        route -> Text,
        /// The caller's key.
        key -> Text,
        /// SHA-256 of the call's body.
        body_hash -> Text,
        /// The status of the answer; 0 as long as there is none.
        status -> Integer,
        /// Its body.
        answer -> Text,
        /// When the key becomes free again.
        expires_at_ms -> BigInt,
    }
}

diesel::table! {
    /// What endpoints are told: a row for each event and endpoint.
    webhook_outbox (number) {
        /// Rises in the order of the commits of an order.
        number -> BigInt,
        /// The endpoint's name.
        endpoint -> Text,
        /// The order; empty where there is none.
        order_id -> Text,
        /// The `webhook-id`.
        id -> Text,
        /// The `type` of the webhook.
        kind -> Text,
        /// JSON of its data.
        data -> Text,
        /// When it happened.
        created_at_ms -> BigInt,
        /// 0 new, 1 queued (its order has a lease), 2 dead, 3 delivered.
        state -> SmallInt,
        /// When it was delivered or died.
        done_at_ms -> Nullable<BigInt>,
        /// Why the last try of a dead one failed.
        error -> Nullable<Text>,
    }
}

diesel::table! {
    /// The orders of which rows are queued for an endpoint.
    webhook_leases (endpoint, order_id) {
        /// The endpoint's name.
        endpoint -> Text,
        /// The order; empty where there is none.
        order_id -> Text,
        /// When its next row may be tried; with a token, when the lease ends.
        due_at_ms -> BigInt,
        /// The token of the hub that has its rows in hand.
        token -> Nullable<Text>,
        /// How often its next row has failed.
        failures -> Integer,
    }
}

diesel::table! {
    /// How endpoints fare.
    webhook_endpoints (name) {
        /// The endpoint's name.
        name -> Text,
        /// The hash of the entry in force, the newest that was used.
        entry -> Nullable<Text>,
        /// The hash of the entry that was answered 410.
        stopped_entry -> Nullable<Text>,
        /// New orders that failed since the last success.
        streak -> Integer,
        /// How often it was found down since the last success.
        level -> Integer,
        /// Until then nothing is sent.
        retry_at_ms -> Nullable<BigInt>,
        /// Whether an order that has not failed may be sent before that.
        open_for_new -> Bool,
        /// Why the last delivery failed.
        last_error -> Nullable<Text>,
        /// When the last delivery succeeded.
        last_delivered_at_ms -> Nullable<BigInt>,
        /// The hashes of entries that were used before, oldest first, with spaces between them.
        former_entries -> Nullable<Text>,
        /// The ids of the newest reports, with spaces between them.
        reports -> Nullable<Text>,
        /// Since when it is in no hub's file.
        left_at_ms -> Nullable<BigInt>,
    }
}
