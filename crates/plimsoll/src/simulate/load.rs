//! Load that is made up.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_scale::simulation::Request;

use crate::cli::values;
use crate::dice::Dice;

/// The most requests of one simulation: some minutes of time.
const REQUESTS_MAX: f64 = 1e9;

/// How long a day is.
const DAY: f64 = 86_400.0;

/// What a load is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// So many a second, all as far apart.
    Constant(f64),
    /// So many a second, at random.
    Poisson(f64),
    /// So many at once, and then so long none.
    Bursts(NonZeroU32, Duration),
    /// So many a second on average, at random, none at midnight and twice as many at noon.
    Daily(f64),
}

/// Load that is made up. The same one gives the same requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    pub(crate) service_time: Duration,
    pub(crate) length: Duration,
    pub(crate) seed: u64,
}

impl Load {
    /// Whether it can be simulated in a time that anybody would wait.
    pub(crate) fn check(&self) -> Result<(), String> {
        let requests = self.rate() * self.length.as_secs_f64();
        if requests > REQUESTS_MAX {
            return Err(format!(
                "this load has {requests:.0} requests; at most {REQUESTS_MAX:.0} are accepted"
            ));
        }
        Ok(())
    }

    /// Requests a second, on average.
    fn rate(&self) -> f64 {
        match self.kind {
            Kind::Constant(rate) | Kind::Poisson(rate) | Kind::Daily(rate) => rate,
            Kind::Bursts(count, every) => f64::from(count.get()) / every.as_secs_f64(),
        }
    }

    /// The requests, in the order of their arrival.
    pub(crate) fn requests(&self) -> Requests {
        Requests {
            load: *self,
            dice: Dice::new(self.seed),
            at: 0.0,
            index: 0,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = values::written(self.length);
        let service = values::written(self.service_time);
        match self.kind {
            Kind::Constant(rate) => write!(f, "{rate} requests a second, {service} each, {length}"),
            Kind::Poisson(rate) => {
                write!(
                    f,
                    "{rate} requests a second at random, {service} on average, {length}"
                )
            }
            Kind::Bursts(count, every) => {
                let every = values::written(every);
                write!(
                    f,
                    "{count} requests every {every}, {service} each, {length}"
                )
            }
            Kind::Daily(rate) => write!(
                f,
                "{rate} requests a second by day and night, {service} on average, {length}"
            ),
        }
    }
}

/// The requests of a [`Load`].
#[derive(Debug)]
pub(crate) struct Requests {
    load: Load,
    dice: Dice,
    /// When the last one came, in seconds.
    at: f64,
    index: u64,
}

impl Requests {
    /// When the next one comes, in seconds.
    fn arrival(&mut self) -> f64 {
        let index = self.index as f64;
        match self.load.kind {
            Kind::Constant(rate) => index / rate,
            Kind::Bursts(count, every) => {
                (self.index / u64::from(count.get())) as f64 * every.as_secs_f64()
            }
            Kind::Poisson(rate) => self.at + self.dice.exponential() / rate,
            // Of a Poisson process at the highest rate, as many are kept as are due (thinning: Lewis and
            // Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", 1979).
            Kind::Daily(rate) => {
                let mut at = self.at;
                loop {
                    at += self.dice.exponential() / (2.0 * rate);
                    let angle = at / DAY * std::f64::consts::TAU;
                    if self.dice.unit() < (1.0 - libm::cos(angle)) / 2.0 {
                        break at;
                    }
                }
            }
        }
    }
}

impl Iterator for Requests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.at = self.arrival();
        self.index += 1;
        let arrival = Duration::try_from_secs_f64(self.at).ok()?;
        let factor = match self.load.kind {
            Kind::Constant(_) | Kind::Bursts(..) => 1.0,
            Kind::Poisson(_) | Kind::Daily(_) => self.dice.exponential(),
        };
        (arrival < self.load.length).then(|| Request {
            arrival,
            duration: self.load.service_time.mul_f64(factor),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(kind: Kind) -> Load {
        Load {
            kind,
            service_time: Duration::from_millis(500),
            length: Duration::from_secs(86_400),
            seed: 7,
        }
    }

    #[test]
    fn there_are_as_many_requests_as_the_rate_says_and_in_order() {
        let ten = NonZeroU32::new(10).expect("not zero");
        let kinds = [
            Kind::Constant(0.5),
            Kind::Poisson(0.5),
            Kind::Bursts(ten, Duration::from_secs(20)),
            Kind::Daily(0.5),
        ];
        for kind in kinds {
            let requests: Vec<_> = load(kind).requests().collect();
            let count = requests.len() as f64;
            assert!((count / 43_200.0 - 1.0).abs() < 0.02, "{kind:?}: {count}");
            assert!(requests.is_sorted_by_key(|request| request.arrival));
            let busy: f64 = requests.iter().map(|one| one.duration.as_secs_f64()).sum();
            assert!((busy / count - 0.5).abs() < 0.01, "{kind:?}: {busy}");
            assert_eq!(requests, load(kind).requests().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_day_has_a_night() {
        let at = |hour: u64| (hour * 3_600)..(hour + 1) * 3_600;
        let count = |hour| {
            let requests = load(Kind::Daily(0.5)).requests();
            requests
                .filter(|one| at(hour).contains(&one.arrival.as_secs()))
                .count()
        };
        assert!(
            count(0) < 100 && count(12) > 3_300,
            "{} {}",
            count(0),
            count(12)
        );
    }
}
