//! Rate limits without I/O: how often something may happen, and what each user may cost.

pub mod quota;
pub mod users;
