use super::{debt::AFTER_FAILED_HOOK, *};

const GRACE: Duration = Duration::from_secs(8);
const TEAR_DOWN: Duration = Duration::from_mins(5);
const HOOK: Duration = Duration::from_mins(30);

fn presence() -> Presence {
    Presence::new(GRACE, TEAR_DOWN, HOOK)
}

#[track_caller]
fn check(presence: &Presence, online: bool) {
    assert_eq!(presence.sight("e").0.online, online);
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_is_online_and_a_lost_one_after_the_grace_is_not() {
    let presence = presence();
    check(&presence, false);
    let stream = presence.open("e").unwrap();
    tokio::time::advance(GRACE * 10).await;
    check(&presence, true);
    drop(stream);
    check(&presence, true);
    let (_, next) = presence.sight("e");
    assert_eq!(next, Some(Instant::now() + GRACE));
    tokio::time::advance(GRACE).await;
    check(&presence, false);
}

#[tokio::test(start_paused = true)]
async fn a_return_within_the_grace_changes_nothing() {
    let presence = presence();
    drop(presence.open("e").unwrap());
    tokio::time::advance(GRACE / 2).await;
    let _again = presence.open("e").unwrap();
    tokio::time::advance(GRACE * 2).await;
    check(&presence, true);
}

#[tokio::test(start_paused = true)]
async fn leaving_is_noticed_at_once() {
    let presence = presence();
    let stream = presence.open("e").unwrap();
    presence.left("e");
    check(&presence, false);
    drop(stream);
    check(&presence, false);
    let _back = presence.open("e").unwrap();
    check(&presence, true);
}

#[tokio::test(start_paused = true)]
async fn an_exporter_of_before_a_restart_is_waited_for() {
    let presence = presence();
    presence.expect("e", GRACE * 3);
    tokio::time::advance(GRACE * 2).await;
    check(&presence, true);
    tokio::time::advance(GRACE * 2).await;
    check(&presence, false);
}

#[tokio::test(start_paused = true)]
async fn a_newer_stream_replaces_the_older_but_not_for_ever() {
    let presence = presence();
    let mut streams = vec![presence.open("e").unwrap()];
    for _ in 0..CONTESTED_AFTER {
        let newer = presence.open("e").unwrap();
        assert!(streams.last().unwrap().replaced().is_cancelled());
        streams.push(newer);
    }
    assert_eq!(presence.open("e").err(), Some(Contested));
    tokio::time::advance(CONTEST_WINDOW + GRACE).await;
    assert!(presence.open("e").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_told_exporter_owes_a_tear_down_until_it_reports() {
    let presence = presence();
    let _stream = presence.open("e").unwrap();
    presence.told_leased("e", "l", presence.next_word());
    assert!(presence.sight("e").0.owes_tear_down);
    presence.told_free("e", false);
    assert!(presence.sight("e").0.owes_tear_down);
    presence.torn_down("e", None);
    assert!(!presence.sight("e").0.owes_tear_down);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_owes_nothing_once_it_was_told() {
    let presence = presence();
    let _stream = presence.open("e").unwrap();
    presence.told_leased("e", "l", presence.next_word());
    presence.told_free("e", true);
    assert!(!presence.sight("e").0.owes_tear_down);
}

#[tokio::test(start_paused = true)]
async fn a_debt_without_any_word_ends_after_its_limit() {
    let presence = presence();
    let _stream = presence.open("e").unwrap();
    presence.told_leased("e", "l", presence.next_word());
    tokio::time::advance(TEAR_DOWN * 2).await;
    assert!(presence.sight("e").0.owes_tear_down, "a long session is no lost report");
    presence.told_free("e", false);
    tokio::time::advance(TEAR_DOWN).await;
    let (sight, _) = presence.sight("e");
    assert!(!sight.owes_tear_down && sight.overdue);
}

#[tokio::test(start_paused = true)]
async fn a_tear_down_hook_may_take_as_long_as_a_hook_may() {
    let presence = presence();
    presence.told_leased("e", "l", presence.next_word());
    presence.told_free("e", false);
    presence.in_session("e", Session::Closing);
    tokio::time::advance(TEAR_DOWN * 2).await;
    assert!(presence.sight("e").0.owes_tear_down);
    tokio::time::advance(HOOK).await;
    assert!(presence.sight("e").0.overdue);
}

#[tokio::test(start_paused = true)]
async fn an_exporter_with_a_failed_hook_is_soon_taken_to_be_idle() {
    let presence = presence();
    presence.told_leased("e", "l", presence.next_word());
    presence.in_session("e", Session::Failed);
    tokio::time::advance(AFTER_FAILED_HOOK * 2).await;
    assert!(presence.sight("e").0.owes_tear_down, "its lease goes on");
    presence.told_free("e", false);
    assert!(presence.sight("e").0.owes_tear_down);
    tokio::time::advance(AFTER_FAILED_HOOK).await;
    assert!(presence.sight("e").0.overdue);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_ended_stays_so_when_the_lease_is_told_again() {
    let presence = presence();
    presence.told_leased("e", "l", presence.next_word());
    presence.torn_down("e", None);
    presence.told_leased("e", "l", presence.next_word());
    assert!(presence.session_over("e", "l"));
    assert!(!presence.sight("e").0.owes_tear_down);
    presence.started("e", "");
    presence.told_leased("e", "l", presence.next_word());
    assert!(presence.sight("e").0.owes_tear_down, "a new process starts a session of its own");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_reported_is_not_silent() {
    let presence = presence();
    presence.torn_down("e", None);
    presence.told_leased("e", "l", presence.next_word());
    presence.told_free("e", true);
    assert!(presence.sight("e").0.owes_tear_down);
}

#[tokio::test(start_paused = true)]
async fn what_an_exporter_said_before_it_heard_of_a_lease_confirms_no_tear_down() {
    let presence = presence();
    presence.started("e", "");
    let free = presence.next_word();
    let leased = presence.next_word();
    presence.told_leased("e", "l", leased);
    // On its way since before; the exporter is about to open its session.
    for early in [Word::EARLIER, free] {
        presence.reported("e", ExporterPhase::Available, Some(early));
        assert!(presence.sight("e").0.owes_tear_down);
        assert!(!presence.session_over("e", "l"));
    }
    presence.told_free("e", false);
    presence.reported("e", ExporterPhase::Available, Some(free));
    assert!(presence.sight("e").0.owes_tear_down, "the lease was over in the meantime, the session is not");
    presence.reported("e", ExporterPhase::Available, Some(leased));
    assert!(!presence.sight("e").0.owes_tear_down);
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_never_heard_of_a_lease_owes_nothing_once_it_heard_what_came_after() {
    let presence = presence();
    presence.told_leased("e", "l", presence.next_word());
    // The message was lost with its stream; the next one begins with this.
    presence.told_free("e", false);
    let after = presence.next_word();
    presence.reported("e", ExporterPhase::Available, Some(after));
    assert!(!presence.sight("e").0.owes_tear_down);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_told_again_is_to_be_heard_of_before_its_end_is_believed() {
    let presence = presence();
    presence.told_leased("e", "l", Word::EARLIER);
    let again = presence.next_word();
    presence.told_leased("e", "l", again);
    // Words of another process mean nothing here.
    presence.reported("e", ExporterPhase::Available, Some(presence.heard("another-process.7")));
    assert!(presence.sight("e").0.owes_tear_down);
    presence.reported("e", ExporterPhase::Available, Some(presence.heard(&presence.revision(again))));
    assert!(!presence.sight("e").0.owes_tear_down);
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_does_not_say_what_it_heard_is_believed() {
    let presence = presence();
    presence.told_leased("e", "l", presence.next_word());
    presence.reported("e", ExporterPhase::Available, None);
    assert!(!presence.sight("e").0.owes_tear_down);
}

#[tokio::test(start_paused = true)]
async fn a_register_that_comes_twice_is_no_new_process() {
    let presence = presence();
    let told = || {
        presence.told_leased("e", "l", presence.next_word());
        presence.sight("e").0.owes_tear_down
    };
    presence.started("e", "one");
    assert!(told());
    presence.started("e", "one");
    assert_eq!(presence.told("e").as_deref(), Some("l"));
    presence.started("e", "two");
    assert_eq!(presence.told("e"), None);
    assert!(presence.is_outdated("e", "one") && !presence.is_outdated("e", "two"));
    assert!(told());
    presence.started("e", "one");
    assert_eq!(presence.told("e").as_deref(), Some("l"), "it comes late");
}

#[tokio::test(start_paused = true)]
async fn a_process_without_a_name_is_new_when_it_opens_its_stream() {
    let presence = presence();
    presence.started("e", "");
    let _stream = presence.open("e").unwrap();
    presence.told_leased("e", "l", presence.next_word());
    presence.started("e", "");
    assert_eq!(presence.told("e").as_deref(), Some("l"), "it may have come twice");
    let _next = presence.open("e").unwrap();
    assert_eq!(presence.told("e"), None);
    assert!(!presence.is_outdated("e", ""));
}

#[tokio::test(start_paused = true)]
async fn what_an_exporter_told_another_leader_counts() {
    let presence = presence();
    presence.reported("e", ExporterPhase::LeaseReady, None);
    presence.noticed("e", ExporterPhase::Available);
    assert_eq!(presence.last_report("e"), Some(ExporterPhase::Available));
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_before_a_restart_that_its_exporter_never_heard_of_is_yet_to_be_torn_down() {
    let presence = presence();
    // As stored: the lease was ready at once, and the exporter available.
    presence.told_leased("e", "l", Word::EARLIER);
    presence.reported("e", ExporterPhase::Available, None);
    assert!(presence.session_over("e", "l"));
    let word = presence.next_word();
    presence.told_leased("e", "l", word);
    presence.reported("e", ExporterPhase::Available, Some(Word::EARLIER));
    assert!(presence.sight("e").0.owes_tear_down, "it opens its session now");
    presence.told_free("e", false);
    presence.reported("e", ExporterPhase::Available, Some(word));
    assert!(!presence.sight("e").0.owes_tear_down);
}

#[tokio::test(start_paused = true)]
async fn open_streams_are_counted() {
    let presence = presence();
    let (one, other) = (presence.open("e").unwrap(), presence.open("f").unwrap());
    let again = presence.open("e").unwrap();
    assert_eq!(presence.online_count(), 2);
    drop(one);
    assert_eq!(presence.online_count(), 2, "the stream was replaced");
    presence.forget("f");
    drop(other);
    assert_eq!(presence.online_count(), 1);
    drop(again);
    assert_eq!(presence.online_count(), 0);
}
