use serde_json::{Value, json};

use super::*;

fn broken(spec: Value) -> Vec<String> {
    let spec: LeaseQuotaSpec = serde_json::from_value(spec).unwrap();
    faults(&spec).iter().map(ToString::to_string).collect()
}

#[test]
fn a_quota_says_everything_that_is_wrong_with_it() {
    let none: [&str; 0] = [];
    let right = [
        json!({"maxDevices": 0}),
        json!({"maxWaiting": 5, "accountBy": "All"}),
        json!({"maxDeviceTime": "20h", "period": "744h"}),
        json!({"weight": 1000, "accountBy": "Label", "accountLabel": "team"}),
    ];
    for spec in right {
        assert_eq!(broken(spec.clone()), none, "{spec}");
    }
    let wrong: [(Value, &[&str]); 9] = [
        (json!({}), &["one of maxDevices, maxDeviceTime, maxWaiting and weight is required"]),
        (json!({"maxDevices": -1}), &["maxDevices must not be negative"]),
        (json!({"maxWaiting": -1}), &["maxWaiting must not be negative"]),
        (json!({"weight": 0}), &["weight must be from 1 to 1000"]),
        (
            json!({"weight": -3, "maxDevices": -3}),
            &["maxDevices must not be negative", "weight must be from 1 to 1000"],
        ),
        (json!({"maxDeviceTime": "20h"}), &["maxDeviceTime and period go together"]),
        (json!({"maxDeviceTime": "-1h", "period": "24h"}), &["maxDeviceTime must not be negative"]),
        (json!({"maxDeviceTime": "1h", "period": "1s"}), &["period must be from 1m to 744h (31 days)"]),
        (json!({"maxDevices": 1, "accountBy": "Label"}), &["accountLabel goes with accountBy: Label"]),
    ];
    for (spec, messages) in wrong {
        assert_eq!(broken(spec.clone()), messages, "{spec}");
    }
}
