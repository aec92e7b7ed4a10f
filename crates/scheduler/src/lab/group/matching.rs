//! Devices for all members of a group at once: a matching, since two members may compete for one device.
//!
//! Devices are taken in one after the other, best first, each if that lets one more member have one. What is left out
//! then is left out by right: of all sets of devices that serve the whole group, the one that is found has the best
//! first, the best second and so on (the sets of devices that can be served together are a transversal matroid, on which
//! the greedy choice is the best one). So the last of them comes no later than the last of any other.

use jumpstarter_model::lease_group::MAX_GROUP;

/// Members, one bit each.
pub(super) type Members = u16;

const _: () = assert!(MAX_GROUP <= Members::BITS as usize, "each member has a bit");

/// Who has which of the devices, by their places in the list that was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Matching {
    /// The device of each member.
    pub(super) of_member: Vec<Option<usize>>,
}

impl Matching {
    /// Matches so many members with devices, of each of which the members are given that may have it.
    pub(super) fn of(members: usize, devices: &[Members]) -> Self {
        let mut matching = Self { of_member: vec![None; members] };
        let mut left = members;
        for device in 0..devices.len() {
            if left == 0 {
                break;
            }
            left -= usize::from(matching.place(device, devices, &mut 0));
        }
        matching
    }

    /// Finds a member for a device, moving others to other members of theirs if need be.
    fn place(&mut self, device: usize, devices: &[Members], seen: &mut Members) -> bool {
        let mut members = self.of_member.iter_mut().enumerate();
        if let Some((_, free)) = members.find(|(member, has)| has.is_none() && devices[device] & 1 << member != 0) {
            *free = Some(device);
            return true;
        }
        for member in 0..self.of_member.len() {
            let bit = 1 << member;
            if devices[device] & bit == 0 || *seen & bit != 0 {
                continue;
            }
            *seen |= bit;
            if self.of_member[member].is_some_and(|other| self.place(other, devices, seen)) {
                self.of_member[member] = Some(device);
                return true;
            }
        }
        false
    }

    /// The devices of all members, if each has one.
    pub(super) fn complete(&self) -> Option<Vec<usize>> {
        self.of_member.iter().copied().collect()
    }

    /// How many members have one.
    pub(super) fn served(&self) -> usize {
        self.of_member.iter().flatten().count()
    }

    /// Members that have too few devices among them, and how many they have, if one member has none.
    pub(super) fn short(&self, devices: &[Members]) -> Option<(Members, usize)> {
        let first = self.of_member.iter().position(Option::is_none)?;
        let mut short: Members = 1 << first;
        loop {
            let theirs = |device: &Members| device & short != 0;
            let holders = self.of_member.iter().enumerate();
            let more = holders.filter(|(_, device)| device.is_some_and(|device| theirs(&devices[device])));
            let more = more.fold(short, |short, (member, _)| short | 1 << member);
            if more == short {
                return Some((short, devices.iter().filter(|device| theirs(device)).count()));
            }
            short = more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(members: usize, devices: &[Members], expected: Option<&[usize]>) {
        assert_eq!(Matching::of(members, devices).complete().as_deref(), expected);
    }

    #[test]
    fn members_that_compete_get_what_each_can_use() {
        // The first may have either, the second only the first device: a greedy choice would leave it without.
        check(2, &[0b11, 0b01], Some(&[1, 0]));
        check(3, &[0b111, 0b110, 0b100], Some(&[0, 1, 2]));
        check(3, &[0b011, 0b011, 0b011], None);
        check(1, &[], None);
    }

    #[test]
    fn the_best_devices_that_serve_all_are_taken() {
        // The second device serves nobody whom the first does not serve.
        check(2, &[0b01, 0b01, 0b11, 0b10], Some(&[0, 2]));
    }

    #[test]
    fn who_is_short_is_found() {
        let devices = [0b0111, 0b0011, 0b1000, 0b1000];
        let matching = Matching::of(4, &devices);
        assert_eq!((matching.served(), matching.short(&devices)), (3, Some((0b0111, 2))));
        assert_eq!(Matching::of(1, &devices).short(&devices), None);
    }
}
