//! A bounded set of names that clients choose.

use std::sync::OnceLock;

/// The first names that were seen, up to a bound. Never shrinks. Reading and adding take no lock.
#[derive(Debug)]
pub(super) struct Names<const MAX: usize>([OnceLock<Box<str>>; MAX]);

/// The longest name that is kept, in bytes: that of a host with a port.
pub(super) const NAME_BYTES_MAX: usize = 260;

impl<const MAX: usize> Default for Names<MAX> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; MAX])
    }
}

impl<const MAX: usize> Names<MAX> {
    /// The place of a name, which it gets if there is one left. Letters of either case are the same. Linear in
    /// the names: there are few, and mostly it is one of the first.
    pub(super) fn place(&self, name: &[u8]) -> Option<usize> {
        // Mostly it is as it was: byte for byte is the quick way.
        let mut kept = self.0.iter().map_while(OnceLock::get);
        if let Some(place) = kept.position(|kept| kept.as_bytes() == name) {
            return Some(place);
        }
        self.place_anew(name)
    }

    /// The place of a name that is none of those that are there, letter by letter.
    #[cold]
    fn place_anew(&self, name: &[u8]) -> Option<usize> {
        let name = std::str::from_utf8(name).ok()?;
        let is_told = name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_told || name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        for (place, slot) in self.0.iter().enumerate() {
            // If two add at once, one loses and looks whether the other's is the same.
            let kept = match slot.get() {
                Some(kept) => kept,
                None if slot.set(name.to_ascii_lowercase().into()).is_ok() => {
                    return Some(place);
                }
                None => slot.get()?,
            };
            if kept.eq_ignore_ascii_case(name) {
                return Some(place);
            }
        }
        None
    }

    /// The name at a place.
    pub(super) fn get(&self, place: usize) -> Option<&str> {
        self.0.get(place)?.get().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_place_and_those_beyond_the_bound_have_none() {
        let names = Names::<2>::default();
        assert_eq!(names.place(b"a.example"), Some(0));
        assert_eq!(names.place(b"b.example:8080"), Some(1));
        assert_eq!(names.place(b"c.example"), None);
        assert_eq!(names.place(b"A.Example"), Some(0));
        assert_eq!(names.get(1), Some("b.example:8080"));
        assert_eq!(names.get(2), None);
    }

    #[test]
    fn nonsense_takes_no_place() {
        let names = Names::<2>::default();
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for nonsense in ["", "a b", "a\nb", "\u{e9}", &long] {
            assert_eq!(names.place(nonsense.as_bytes()), None, "{nonsense:?}");
        }
        assert_eq!(names.place(b"\xff"), None);
        assert_eq!(names.get(0), None);
    }

    #[test]
    fn threads_that_add_at_once_agree_on_the_places() {
        let names = Names::<8>::default();
        let all: Vec<String> = (0..12).map(|index| format!("host-{index}")).collect();
        let see = || -> Vec<_> {
            all.iter()
                .map(|name| names.place(name.as_bytes()))
                .collect()
        };
        let (left, right) = std::thread::scope(|scope| {
            let threads = [scope.spawn(see), scope.spawn(see)];
            let [left, right] = threads.map(|thread| thread.join().unwrap());
            (left, right)
        });
        for (index, name) in all.iter().enumerate() {
            let place = names.place(name.as_bytes());
            assert_eq!(
                place.and_then(|place| names.get(place)),
                place.map(|_| name.as_str())
            );
            for seen in [left[index], right[index]] {
                assert!(seen == place, "{name}: {seen:?} and then {place:?}");
            }
        }
        assert_eq!(
            (0..8).filter(|place| names.get(*place).is_some()).count(),
            8
        );
    }
}
