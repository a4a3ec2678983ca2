//! Which role a token gives.

use super::*;

#[test]
fn an_unknown_role_is_a_customer_and_the_map_comes_first() {
    let map: &[&str] = &["--jwt-role-map", "COURIER=driver,admin=support,7=driver"];
    for (flags, role, expected) in [
        (&[][..], json!("driver"), Role::Driver),
        (&[], json!("support"), Role::Support),
        (&[], json!("admin"), Role::Admin),
        (&[], json!("service"), Role::Service),
        (&[], json!("ADMIN"), Role::Customer),
        (&[], json!("boss"), Role::Customer),
        (&[], json!("DRIVER"), Role::Driver),
        (&[], json!("Support"), Role::Support),
        (&[], json!(["admin"]), Role::Admin),
        (&[], json!(["offline_access", "customer", "driver", 7]), Role::Driver),
        (&[], json!(["boss", null, ["admin"]]), Role::Customer),
        (&[], json!([]), Role::Customer),
        (&[], json!({"admin": true}), Role::Customer),
        (&[], json!(7), Role::Customer),
        (map, json!("COURIER"), Role::Driver),
        (map, json!("courier"), Role::Driver),
        (map, json!("ADMIN"), Role::Support),
        (map, json!(["7"]), Role::Driver),
        (map, json!("admin"), Role::Support),
        (map, json!(7), Role::Driver),
        (map, json!("service"), Role::Service),
    ] {
        let identity = judge(flags, json!({"role": role})).expect("good");
        assert_eq!(identity.role, expected, "{flags:?} {role}");
    }
    let renamed = judge(
        &["--jwt-role-claim", "https://shop/role"],
        json!({
            "https://shop/role": "driver", "role": "admin",
        }),
    );
    assert_eq!(renamed.expect("good").role, Role::Driver);
}

#[test]
fn the_claim_with_the_role_may_be_a_path() {
    let keycloak = json!({"realm_access": {"roles": ["uma_authorization", "ROLE_COURIER"]},
        "resource_access": {"my.app": {"roles": ["support"]}}, "role": "admin"});
    for (claim, expected) in [
        ("realm_access.roles", Role::Driver),
        ("resource_access.my.app.roles", Role::Support),
        ("realm_access", Role::Customer),
        ("realm_access.missing", Role::Customer),
        ("role.name", Role::Customer),
        ("sub.x", Role::Customer),
    ] {
        let flags = &["--jwt-role-claim", claim, "--jwt-role-map", "ROLE_COURIER=driver"];
        let identity = judge(flags, keycloak.clone()).expect("good");
        assert_eq!(identity.role, expected, "{claim}");
    }
    // A claim with exactly that name takes precedence.
    let literal = json!({"a.b": "support", "a": {"b": "driver"}});
    let identity = judge(&["--jwt-role-claim", "a.b"], literal).expect("good");
    assert_eq!(identity.role, Role::Support);
}

#[test]
fn staff_roles_of_a_list_need_the_staff_audience() {
    let flags = &["--jwt-staff-audience", "staff"];
    let roles = json!({"role": ["admin", "driver"]});
    assert_eq!(judge(flags, roles.clone()).expect("good").role, Role::Driver);
    let mut staff = roles;
    staff["aud"] = json!("staff");
    assert_eq!(judge(flags, staff).expect("good").role, Role::Admin);
}

#[test]
fn admin_and_service_ask_for_the_staff_audience() {
    let staff: &[&str] = &["--jwt-staff-audience", "back-office"];
    for (role, aud, expected) in [
        ("admin", json!("back-office"), Role::Admin),
        ("service", json!(["x", "back-office"]), Role::Service),
        ("admin", json!("app"), Role::Customer),
        ("service", json!(null), Role::Customer),
        ("support", json!("app"), Role::Support),
        ("driver", json!("app"), Role::Driver),
    ] {
        let identity = judge(staff, json!({"role": role, "aud": aud})).expect("good");
        assert_eq!(identity.role, expected, "{role} {aud}");
    }
}
