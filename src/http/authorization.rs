//! Authorisation over HTTP: which callers may use a call. What participants of an order may do is
//! decided by `room::policy`.

use std::future::{Ready, ready};
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use super::RouteSet;
use super::problem::Problem;
use crate::auth::{Identity, Principal, Scope};
use protocol::error::{ErrorCode, Failure};

/// A caller that may do something: `May<WriteOrders>`.
pub(super) struct May<P> {
    pub(super) caller: Principal,
    permission: PhantomData<P>,
}

/// What a caller may do with its scope.
pub(super) trait Permission {
    /// The scope that an API key needs. A token has it by its role.
    const SCOPE: Scope;
    /// The roles that have it, for the refusal of a token.
    const ROLES: &'static str;
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: $scope:ident for $roles:literal;)+) => {$(
        $(#[$doc])*
        pub(super) enum $name {}

        impl Permission for $name {
            const SCOPE: Scope = Scope::$scope;
            const ROLES: &'static str = $roles;
        }
    )+};
}

permissions! {
    /// To read every order.
    ReadOrders: OrdersRead for "services and admins";
    /// To change every order.
    WriteOrders: OrdersWrite for "services and admins";
    /// To send events to rooms and to users.
    SendEvents: EventsWrite for "services and admins";
    /// To revoke users' tokens.
    RevokeTokens: UsersWrite for "services and admins";
    /// To read the state of the node and its rooms.
    ReadNode: AdminRead for "support and admins";
    /// To remove users.
    RemoveUsers: AdminWrite for "admins";
    /// To start endpoints of webhooks, and to send again what was given up.
    ManageWebhooks: AdminWrite for "admins";
    /// To read the metrics and the API's description.
    ReadMetrics: MetricsRead for "admins";
}

/// A caller that may read the metrics and the API's description: every caller of an address that is
/// open to operators ([`RouteSet`]), elsewhere `May<ReadMetrics>`.
pub(super) struct Operator;

/// The orders that a caller may use a call for.
pub(super) enum Reach<'a> {
    /// Every order: a back end or an admin.
    EveryOrder,
    /// Those that give this user the right.
    OrdersOf(&'a Identity),
}

impl Principal {
    /// The orders for which the caller may use a call that needs a scope for every order.
    ///
    /// # Errors
    /// `forbidden` to an API key without the scope.
    pub(super) fn reach(&self, scope: Scope) -> Result<Reach<'_>, Failure> {
        match self {
            _ if self.may(scope) => Ok(Reach::EveryOrder),
            Self::Identity(identity) => Ok(Reach::OrdersOf(identity)),
            Self::Service(_) => Err(lacks(scope)),
        }
    }
}

impl<P: Permission> FromRequest for May<P> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Principal::from_request(request, payload).into_inner();
        ready(caller.and_then(|caller| match caller {
            caller if caller.may(P::SCOPE) => Ok(Self { caller, permission: PhantomData }),
            Principal::Identity(_) => {
                Err(Failure::new(ErrorCode::Forbidden, format!("for {}", P::ROLES)).into())
            }
            Principal::Service(_) => Err(lacks(P::SCOPE).into()),
        }))
    }
}

fn lacks(scope: Scope) -> Failure {
    Failure::new(ErrorCode::Forbidden, format!("the key has no scope {}", scope.as_str()))
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let route_set = request.app_data::<web::Data<RouteSet>>();
        if route_set.is_some_and(|route_set| route_set.is_open_to_operators()) {
            return ready(Ok(Self));
        }
        ready(May::<ReadMetrics>::from_request(request, payload).into_inner().map(|_| Self))
    }
}
