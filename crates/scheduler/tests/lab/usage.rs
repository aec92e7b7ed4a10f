//! What accounts use, as people are told.

use jumpstarter_model::GoDuration;
use jumpstarter_scheduler::{AccountUse, DeviceTimeUse, Objects, Share, tally};

use crate::kit::{LeaseExt as _, QuotaExt as _, World, at, client, exporter, lease, quota};

/// As whoever reads the objects counts it.
pub(crate) fn counted(world: &World) -> Vec<AccountUse> {
    let quotas = world.quotas.values().cloned().collect::<Vec<_>>();
    let clients = world.clients.values().cloned().collect::<Vec<_>>();
    let exporters = world.exporters.values().cloned().collect::<Vec<_>>();
    let leases = world.leases.values().cloned().collect::<Vec<_>>();
    let objects = Objects { quotas: &quotas, clients: &clients, exporters: &exporters, leases: &leases };
    tally(objects, world.config.share_half_life, world.now)
}

fn hours(hours: i64) -> GoDuration {
    GoDuration::from_secs(hours * 3600)
}

fn unused(quota: &str, account: &str) -> AccountUse {
    AccountUse {
        quota: quota.to_owned(),
        account: account.to_owned(),
        devices: 0,
        max_devices: None,
        device_time: None,
        waiting: 0,
        max_waiting: None,
        share: None,
    }
}

#[test]
fn each_account_tells_its_use_and_its_limits() {
    let mut world = World::with(&["a", "b", "c"].map(exporter), &[]);
    world.put(client("carol", &[("team", "a")]));
    world.put(quota("each").devices(1).waiting(9));
    world.put(quota("other").counts("board=y").devices(7));
    world.put(quota("teams").by_team().time(4 * 3600, 86_400));
    for (secs, name) in (1..).zip(["l1", "l2", "l3"]) {
        world.put(lease(name).created(secs));
    }
    world.put(lease("carols").by("carol").created(9).lasting(7200));
    world.settle();
    let each = AccountUse { max_devices: Some(1), max_waiting: Some(9), devices: 1, ..unused("each", "client alice") };
    let other = AccountUse { max_devices: Some(7), ..unused("other", "client alice") };
    let time = DeviceTimeUse { used: hours(3), most: hours(4), period: hours(24) };
    let teams = AccountUse { devices: 2, waiting: 2, device_time: Some(time), ..unused("teams", "team=a") };
    // Carol's lease counts in the account of the team, and who she is is not told.
    let alices = AccountUse { waiting: 2, ..each.clone() };
    let told = [alices.clone(), AccountUse { waiting: 2, ..other.clone() }, teams.clone()];
    assert_eq!(world.lab.usage("alice", world.now), told);
    let carols = AccountUse { account: "client carol".to_owned(), ..each };
    // One that nobody knows has accounts all the same.
    let nobody = world.lab.usage("mallory", world.now);
    assert_eq!((nobody.len(), nobody[2].account.as_str()), (3, "clients without the label team together"));
    assert_eq!(counted(&world), [alices, carols, AccountUse { waiting: 2, ..other }, teams]);
}

#[test]
fn whoever_counts_comes_to_the_same() {
    // The oracle of quotas compares them after every step of a plan; here are those that it does not know.
    let mut world = World::with(&["a", "b"].map(exporter), &[]);
    world.put(quota("q").by_team().devices(9).weight(1));
    world.put(lease("strangers").by("stranger"));
    world.put(lease("gone"));
    world.settle();
    world.put(lease("scheduled").begins(600));
    world.put(lease("waits").created(9));
    world.settle();
    let told = |world: &World| ["alice", "stranger"].map(|client| world.lab.usage(client, world.now).remove(0));
    assert_eq!(told(&world).map(|told| (told.devices, told.waiting)), [(1, 1), (1, 0)]);
    assert_eq!(counted(&world), [told(&world)[1].clone(), told(&world)[0].clone()]);
    world.settle_at(700);
    world.edit_lease("waits", |lease| *lease = lease.clone().released());
    world.settle();
    assert_eq!(told(&world)[0].waiting, 1, "the scheduled one");
    assert_eq!(counted(&world), [told(&world)[1].clone(), told(&world)[0].clone()]);
}

#[test]
fn a_share_is_what_fades_of_the_use_of_all() {
    let mut world = World::with(&["a", "b"].map(exporter), &[]);
    world.put(quota("even").weight(2));
    world.put(lease("alices").lasting(7200));
    world.put(lease("bobs").by("bob").lasting(3600));
    world.settle();
    for secs in [3600, 7200, 86_400 + 7200] {
        world.settle_at(secs);
    }
    let share = |world: &World, client: &str| world.lab.usage(client, world.now)[0].share.unwrap();
    let (alices, bobs) = (share(&world, "alice"), share(&world, "bob"));
    assert_eq!((alices.weight, alices.permille, bobs.permille), (2, 669, 330));
    // Two hours a day ago count for nearly one: less for what was used first.
    let near = |share: Share, minutes: f64| (share.counted.as_secs_f64() / 60.0 - minutes).abs() < 2.0;
    assert!(near(alices, 58.0) && near(bobs, 29.0), "{alices:?} {bobs:?}");
    assert_eq!(world.lab.usage("alice", at(0)).len(), 1);
    world.restart();
    world.settle();
    assert_eq!(share(&world, "alice"), alices);
}
