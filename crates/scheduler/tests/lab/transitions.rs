//! What actions make of objects, and when they no longer fit.

use jumpstarter_model::{Exporter, Lease};
use jumpstarter_scheduler::{
    Action, EndCause, RefusedAs,
    transition::{LEASE_ENDED, apply},
};

use crate::kit::{ExporterExt as _, LeaseExt as _, at, exporter, lease};

fn assign() -> Action {
    Action::Assign { lease: "l".into(), exporter: "a".into(), priority: 4, spot_access: false, ready: true }
}

fn complete() -> Action {
    Action::CompleteClaim { lease: "l".into(), exporter: "a".into(), priority: 4, spot_access: false, ready: false }
}

fn end(cause: EndCause) -> Action {
    Action::End { lease: "l".into(), exporter: None, cause, message: "over".into() }
}

fn refuse() -> Action {
    let condition = RefusedAs::Unsatisfiable;
    Action::Refuse { lease: "l".into(), condition, reason: "NoAccess".into(), message: "no".into() }
}

fn wait(reason: &str) -> Action {
    Action::Wait { lease: "l".into(), reason: reason.into(), message: "waits".into() }
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "rows read better")]
fn does_not_fit(action: &Action, lease: Lease, exporter: Exporter) {
    assert_eq!(apply(action, Some(&lease), Some(&exporter), at(50)), None);
}

fn conditions(lease: &Lease) -> Vec<(String, String, String)> {
    let found = lease.status.as_ref().unwrap().conditions.iter();
    found.map(|one| (one.type_.clone(), one.status.clone(), one.reason.clone())).collect()
}

fn triple(type_: &str, status: &str, reason: &str) -> (String, String, String) {
    (type_.to_owned(), status.to_owned(), reason.to_owned())
}

#[test]
fn an_assignment_writes_both_halves_and_the_owner() {
    let mut waits = lease("l").pending("Offline");
    waits.metadata.generation = Some(7);
    let written = apply(&assign(), Some(&waits), Some(&exporter("a")), at(50)).unwrap();
    let claimed = written.exporter_status.unwrap();
    assert_eq!(claimed.status.unwrap().lease_ref.unwrap().name, "l");
    let status = written.lease_status.clone().unwrap();
    assert_eq!(status.metadata, waits.metadata, "the status write leaves metadata alone");
    assert_eq!(conditions(&status), [triple("Pending", "True", "Offline"), triple("Ready", "True", "Ready")]);
    let inner = status.status.unwrap();
    assert_eq!((inner.priority, inner.spot_access, inner.ended), (Some(4), Some(false), false));
    assert_eq!(inner.begin_time.unwrap().0, at(50));
    assert_eq!(inner.conditions[1].observed_generation, Some(7));
    let owner = &written.lease_metadata.unwrap().metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()), ("Exporter", "a", "uid-a"));
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(true)));
}

#[test]
fn an_assignment_fits_only_what_it_was_decided_for() {
    does_not_fit(&assign(), lease("l").ended(), exporter("a"));
    does_not_fit(&assign(), lease("l").on("b"), exporter("a"));
    does_not_fit(&assign(), lease("l").released(), exporter("a"));
    does_not_fit(&assign(), lease("l"), exporter("a").claimed_for("other"));
    does_not_fit(&assign(), lease("l"), exporter("a").claimed_for("l"));
    does_not_fit(&complete(), lease("l"), exporter("a"));
    does_not_fit(&complete(), lease("l"), exporter("a").claimed_for("other"));
    assert_eq!(apply(&assign(), Some(&lease("l")), None, at(0)), None);
    assert_eq!(apply(&assign(), None, Some(&exporter("a")), at(0)), None);
}

#[test]
fn a_foreign_controller_does_not_fail_the_assignment() {
    let mut owned = lease("l");
    let foreign = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        uid: "someone".to_owned(),
        controller: Some(true),
        ..Default::default()
    };
    owned.metadata.owner_references = Some(vec![foreign]);
    let written = apply(&assign(), Some(&owned), Some(&exporter("a")), at(50)).unwrap();
    assert!(written.lease_status.is_some() && written.lease_metadata.is_none());
}

#[test]
fn an_end_closes_ready_last_and_frees_the_exporter() {
    let runs = lease("l").pending("Offline").on("a").ready();
    let written = apply(&end(EndCause::Released), Some(&runs), Some(&exporter("a").claimed_for("l")), at(50)).unwrap();
    assert_eq!(written.exporter_status.unwrap().status.unwrap().lease_ref, None);
    let status = written.lease_status.unwrap();
    assert_eq!(conditions(&status), [triple("Pending", "True", "Offline"), triple("Ready", "False", "Released")]);
    let inner = status.status.unwrap();
    assert!(inner.ended);
    assert_eq!(inner.end_time.unwrap().0, at(50));
    assert_eq!(status.metadata.labels, None);
    assert_eq!(written.lease_metadata.unwrap().metadata.labels.unwrap()[LEASE_ENDED], "true");
}

#[test]
fn an_end_leaves_an_exporter_that_moved_on() {
    let runs = lease("l").on("a").ready();
    let written = apply(&end(EndCause::Released), Some(&runs), Some(&exporter("a").claimed_for("m")), at(50)).unwrap();
    assert_eq!(written.exporter_status, None);
    assert!(apply(&end(EndCause::Released), Some(&runs), None, at(50)).is_some());
}

#[test]
fn an_extended_lease_does_not_run_out() {
    let runs = lease("l").on("a").ready().lasting(50);
    assert!(apply(&end(EndCause::Expired), Some(&runs), None, at(50)).is_some());
    does_not_fit(&end(EndCause::Expired), runs.lasting(51), exporter("a"));
}

#[test]
fn an_ended_lease_never_changes_but_for_its_label() {
    let over = || lease("l").on("a").ended();
    for action in [assign(), complete(), end(EndCause::Released), refuse(), wait("Offline")] {
        does_not_fit(&action, over(), exporter("a").claimed_for("l"));
    }
    does_not_fit(&Action::MakeReady { lease: "l".into() }, over(), exporter("a"));
    does_not_fit(&Action::Adopt { lease: "l".into(), exporter: "a".into() }, over(), exporter("a"));
    let label = Action::Label { lease: "l".into() };
    let labelled = apply(&label, Some(&over()), None, at(0)).unwrap().lease_metadata.unwrap();
    assert_eq!(labelled.status, over().status);
    assert_eq!(apply(&label, Some(&labelled), None, at(0)), None);
    assert_eq!(apply(&label, Some(&lease("l")), None, at(0)), None);
}

#[test]
fn a_refusal_has_no_ready_condition() {
    let written = apply(&refuse(), Some(&lease("l")), None, at(50)).unwrap().lease_status.unwrap();
    assert_eq!(conditions(&written), [triple("Unsatisfiable", "True", "NoAccess")]);
    assert!(written.status.unwrap().ended);
    does_not_fit(&refuse(), lease("l").on("a"), exporter("a"));
}

#[test]
fn waiting_is_never_written_behind_ready_nor_twice() {
    let waits = apply(&wait("Offline"), Some(&lease("l")), None, at(5)).unwrap().lease_status.unwrap();
    assert_eq!(conditions(&waits), [triple("Pending", "True", "Offline")]);
    assert_eq!(apply(&wait("Offline"), Some(&waits), None, at(9)), None);
    let again = apply(&wait("NotReady"), Some(&waits), None, at(9)).unwrap().lease_status.unwrap();
    assert_eq!(again.status.unwrap().conditions[0].last_transition_time.0, at(5), "it has been pending since then");
    does_not_fit(&wait("Offline"), lease("l").on("a").ready(), exporter("a"));
}

#[test]
fn ready_is_the_last_condition_whoever_wrote_before() {
    let mut odd = lease("l").on("a").ready().pending("Preparing");
    odd.status.as_mut().unwrap().conditions[0].status = "False".to_owned();
    let written = apply(&Action::MakeReady { lease: "l".into() }, Some(&odd), None, at(5)).unwrap();
    let status = written.lease_status.unwrap();
    assert_eq!(conditions(&status), [triple("Pending", "True", "Preparing"), triple("Ready", "True", "Ready")]);
}

#[test]
fn an_unclaim_clears_only_what_it_names() {
    let unclaim = Action::Unclaim { lease: "l".into(), exporter: "a".into() };
    let cleared = apply(&unclaim, None, Some(&exporter("a").claimed_for("l")), at(0)).unwrap();
    assert_eq!(cleared.exporter_status.unwrap().status.unwrap().lease_ref, None);
    assert_eq!(apply(&unclaim, None, Some(&exporter("a").claimed_for("m")), at(0)), None);
    assert_eq!(apply(&unclaim, None, Some(&exporter("a")), at(0)), None);
    does_not_fit(&unclaim, lease("l").on("a").ready(), exporter("a").claimed_for("l"));
}
