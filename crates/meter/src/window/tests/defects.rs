//! Defects that windows of this kind have had, each with a test that it is not
//! here. W1 to W15 are numbers of our own list.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// The clock of a bucket was set to the time of the write instead of the
/// bucket's own beginning, so buckets stretched to twice their length and two
/// adds in different buckets fell into one.
#[test]
fn w01_a_bucket_is_no_longer_than_its_duration() {
    let counter = counter(10, 300);
    counter.add(at_ms(400), 1);
    counter.add(at_ms(601), 1);
    let last_two = points_of_counter(&counter, at_ms(601)).unwrap();
    assert_eq!(last_two, [vec![], vec![1], vec![1]]);
    assert_eq!(counter.max(at_ms(601)), Some(1));
}

/// After an idle time longer than the window the clock advanced by one window
/// only, so it lagged, and each later write wiped the window again.
#[test]
fn w02_a_long_idle_time_costs_no_later_write() {
    let counter = counter(100, 100);
    counter.add(at_ms(0), 1);
    let five_minutes = 300_000;
    for write in 0..30 {
        let now = at_ms(five_minutes + write);
        counter.add(now, 1);
        assert_eq!(counter.sum(now), write + 1);
    }
}

/// The time span was read without the lock under which it was written.
#[test]
fn w03_the_time_span_is_read_while_others_write() {
    let counter = counter(10, 1);
    let now = at_ms(1_000);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..=1_000).for_each(|millis| counter.add(at_ms(millis), 1)));
        let mut last = u64::MAX;
        while last > 0 {
            let timespan = counter.timespan(now);
            assert!(timespan <= last && timespan <= 1_000);
            last = timespan;
        }
    });
}

/// A cached maximum was kept while somebody wrote to the present bucket: under
/// continuous traffic it never expired.
#[test]
fn w04_an_old_maximum_expires_under_continuous_traffic() {
    let (counter, gauge) = (counter(10, 100), gauge(10, 100));
    counter.add(at_ms(0), 1_000);
    gauge.add(at_ms(0), 1_000);
    for millis in 1..1_000 {
        counter.add(at_ms(millis), 1);
        gauge.add(at_ms(millis), 1);
        assert_eq!(counter.max(at_ms(millis)), Some(1_000 + millis.min(99)));
        assert_eq!(gauge.max(at_ms(millis)), Some(1_000));
    }
    counter.add(at_ms(1_000), 1);
    gauge.add(at_ms(1_000), 1);
    assert_eq!(counter.max(at_ms(1_000)), Some(100));
    assert_eq!(gauge.max(at_ms(1_000)), Some(1));
}

/// With a clock that stepped back, every write wiped the window and pushed its
/// clock further into the future: of 50 writes one was left.
#[test]
fn w05_a_clock_that_steps_back_loses_nothing() {
    let (counter, gauge) = (counter(10, 100), gauge(10, 100));
    let summary = RollingSummary::new(shape(10, 100), Tick::ZERO);
    let add = |millis| {
        counter.add(at_ms(millis), 1);
        gauge.add(at_ms(millis), 1);
        summary.record(at_ms(millis), Duration::from_millis(1));
        (
            counter.sum(at_ms(millis)),
            gauge.count(at_ms(millis)),
            summary.count(at_ms(millis)),
        )
    };
    let ten_minutes = 600_000;
    add(ten_minutes);
    for write in 0..50 {
        // Over five seconds, that is five times the window.
        let expected = write + 2;
        assert_eq!(add(write * 100), (expected, expected, expected));
    }
    // When time has caught up, the window moves on as ever.
    let later = ten_minutes + 999;
    assert_eq!(add(later), (52, 52, 52));
    let later = at_ms(ten_minutes + 1_000);
    assert_eq!(
        (counter.sum(later), gauge.count(later), summary.count(later)),
        (1, 1, 1)
    );
}

/// A panic in the caller's function left the lock held, and the next write
/// waited for ever.
#[test]
fn w06_a_panic_in_reduce_does_no_harm() {
    let (counter, gauge) = (counter(3, 100), gauge(3, 100));
    counter.add(at_ms(0), 1);
    gauge.add(at_ms(0), 1);
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let thrown = [
        catch_unwind(AssertUnwindSafe(|| {
            counter.reduce(at_ms(0), |_| panic!("a test"))
        }))
        .is_err(),
        catch_unwind(AssertUnwindSafe(|| {
            gauge.reduce(at_ms(0), |_| panic!("a test"))
        }))
        .is_err(),
    ];
    std::panic::set_hook(silent);
    assert_eq!(thrown, [true, true]);
    counter.add(at_ms(0), 1);
    gauge.add(at_ms(0), 1);
    assert_eq!((counter.sum(at_ms(0)), gauge.sum(at_ms(0))), (2, 2));
}

/// What a bucket gave to the caller was the live list: kept, it showed later
/// writes.
#[test]
fn w07_what_reduce_gives_does_not_change_afterwards() {
    let gauge = gauge(1, 100);
    gauge.add(at_ms(0), 1);
    gauge.reduce(at_ms(0), |mut buckets| {
        let bucket = buckets.next().expect("the only bucket");
        gauge.add(at_ms(0), 2);
        assert_eq!((bucket.count(), bucket.sum()), (1, 1));
        assert_eq!(bucket.points().collect::<Vec<_>>(), [1]);
        // Not even when the bucket is given to another time.
        gauge.add(at_ms(100), 99);
        assert_eq!((bucket.count(), bucket.sum()), (1, 1));
        assert_eq!(bucket.points().collect::<Vec<_>>(), []);
    });
}

/// Lists of samples grew with a burst, and kept their memory for ever.
#[test]
fn w08_a_burst_takes_no_memory_and_is_counted_exactly() {
    let gauge = gauge(10, 100); // 100 points to a bucket
    for sample in 0..10_000 {
        gauge.add(at_ms(50), sample - 5_000);
    }
    let now = at_ms(50);
    assert_eq!((gauge.count(now), gauge.sum(now)), (10_000, -5_000));
    assert_eq!(
        (gauge.min(now), gauge.max(now)),
        (Some(-5_000), Some(4_999))
    );
    assert_eq!(gauge.mean(now), Some(-0.5));
    let points = points_of_gauge(&gauge, now).unwrap().concat();
    assert_eq!(points, (-5_000..-4_900).collect::<Vec<_>>());
}

/// One lock for a metric: a reader held up the writers. Here a reader that is
/// not done holds up nobody.
#[test]
fn w09_writers_do_not_wait_for_a_reader() {
    let counter = counter(3, 100);
    let seen = counter.reduce(at_ms(0), |buckets| {
        std::thread::scope(|scope| scope.spawn(|| counter.add(at_ms(0), 7)).join())
            .expect("the writer does not panic");
        buckets.map(|bucket| bucket.sum).sum::<u64>()
    });
    assert_eq!(seen, Some(7));
}

/// The mean of an empty window was not a number, and that of an idle one zero;
/// minimum and maximum of nothing were zero.
#[test]
fn w10_no_data_is_none_and_never_zero() {
    let (counter, gauge) = (counter(3, 100), gauge(3, 100));
    let summary = RollingSummary::new(shape(3, 100), Tick::ZERO);
    let (fresh, written, idle) = (at_ms(0), at_ms(1), at_ms(1_000));
    let check_empty = |now| {
        assert_eq!((counter.min(now), counter.max(now)), (None, None));
        assert_eq!(
            (counter.mean(now), counter.mean_per_call(now)),
            (None, None)
        );
        assert_eq!(
            (gauge.min(now), gauge.max(now), gauge.mean(now)),
            (None, None, None)
        );
        let snapshot = summary.snapshot(now);
        assert_eq!(
            (snapshot.min(), snapshot.max(), snapshot.mean()),
            (None, None, None)
        );
        assert_eq!(snapshot.quantile(0.5), None);
        assert_eq!((counter.sum(now), counter.count(now)), (0, 0));
    };
    check_empty(fresh);
    assert_eq!(counter.sum_per_second(fresh), None);
    counter.add(written, 0);
    gauge.add(written, 0);
    summary.record(written, Duration::ZERO);
    assert_eq!(
        (counter.mean(written), gauge.mean(written)),
        (Some(0.0), Some(0.0))
    );
    assert_eq!(summary.quantile(written, 0.5), Some(Duration::ZERO));
    check_empty(idle);
}

/// Time span times bucket duration overflowed 32 bits after two seconds.
#[test]
fn w11_the_end_of_time_overflows_nothing() {
    for bucket_millis in [1, 86_400_000] {
        let counter = counter(4_096, bucket_millis);
        counter.add(Tick::ZERO, 1);
        assert!(counter.timespan(Tick::MAX) > 200_000);
        counter.add(Tick::MAX, 2);
        assert_eq!(
            (counter.sum(Tick::MAX), counter.timespan(Tick::MAX)),
            (2, 0)
        );
        let covered = counter.covered(Tick::MAX);
        let length = counter.shape().length();
        assert!(covered <= length && covered >= length - counter.shape().bucket_duration());
    }
}

/// Rates were computed over the whole window, though its newest bucket is only
/// partly filled: up to 10 % too low after each turn, and worse in a young one.
#[test]
fn w12_a_rate_does_not_depend_on_where_in_a_bucket_it_is_read() {
    let start = at_ms(60_030);
    let counter = RollingCounter::new(shape(10, 100), start);
    let summary = RollingSummary::new(shape(10, 100), start);
    assert_eq!(counter.count_per_second(start), None);
    for millis in 1..=5_000 {
        let now = at_ms(60_030 + millis);
        let just_before = Tick::from_nanos(now.as_nanos() - 1);
        counter.add(just_before, 3); // one each millisecond
        summary.record(just_before, Duration::from_micros(1));
        let rates = [
            counter.count_per_second(now).unwrap(),
            counter.sum_per_second(now).unwrap() / 3.0,
            summary.count_per_second(now).unwrap(),
        ];
        let is_right = |rate: &f64| (rate / 1_000.0 - 1.0).abs() < 1e-12;
        assert!(rates.iter().all(is_right), "{rates:?} after {millis} ms");
    }
    // Silence is time, too: nine whole buckets, and 30 ms of the present one.
    let covered = counter.covered(at_ms(65_530));
    assert_eq!(covered, Duration::from_millis(930));
    let calls = counter.count(at_ms(65_530)) as f64;
    assert_eq!(counter.count_per_second(at_ms(65_530)), Some(calls / 0.93));
}

/// Each window had its buckets aligned to its own birth, so two windows of one
/// thing were one bucket apart.
#[test]
fn w13_windows_turn_together_whenever_they_were_made() {
    let errors = RollingCounter::new(shape(10, 100), at_ms(0));
    let latency = RollingCounter::new(shape(10, 100), at_ms(1_055));
    for millis in 1_055..4_000 {
        let now = at_ms(millis);
        errors.add(now, 1);
        latency.add(now, 20);
        assert_eq!(errors.count(now), latency.count(now), "at {millis} ms");
    }
}

/// Whole numbers were kept as floating point, which ends at 2⁵³.
#[test]
fn w14_whole_numbers_stay_whole() {
    let odd = (1 << 53) + 1;
    let (counter, gauge) = (counter(3, 100), gauge(3, 100));
    counter.add(at_ms(0), odd);
    gauge.add(at_ms(0), odd as i64);
    assert_eq!(counter.sum(at_ms(0)), odd);
    assert_eq!(gauge.sum(at_ms(0)), i128::from(odd));
    assert_eq!(
        (gauge.min(at_ms(0)), gauge.max(at_ms(0))),
        (Some(odd as i64), Some(odd as i64))
    );
    assert_eq!(
        points_of_gauge(&gauge, at_ms(0)).unwrap().concat(),
        [odd as i64]
    );
    counter.add(at_ms(0), u64::MAX);
    assert_eq!(
        counter.sum(at_ms(0)),
        u64::MAX,
        "it stops, and does not wrap"
    );
    gauge.add(at_ms(0), i64::MIN);
    assert_eq!(gauge.min(at_ms(0)), Some(-RollingGauge::VALUE_MAX));
    let summary = RollingSummary::new(shape(3, 100), Tick::ZERO);
    summary.record(at_ms(0), Duration::from_nanos(1_000_000_001));
    assert_eq!(summary.snapshot(at_ms(0)).sum().as_nanos(), 1_000_000_001);
}

/// With slots of the wall clock, a step back made the writer reset a newer
/// bucket and hide it.
#[test]
fn w15_an_earlier_time_never_resets_a_newer_bucket() {
    let counter = counter(3, 100);
    for millis in [1_000, 1_100, 1_200] {
        counter.add(at_ms(millis), 1);
    }
    let rows = [
        (1_150, [vec![1], vec![11], vec![1]]), // still in the window: its own bucket
        (1_000, [vec![11], vec![11], vec![1]]),
        (999, [vec![11], vec![11], vec![11]]), // not any more: the newest
        (900, [vec![11], vec![11], vec![21]]), // which shares a place with 1200
        (0, [vec![11], vec![11], vec![31]]),
    ];
    for (millis, expected) in rows {
        counter.add(at_ms(millis), 10);
        let points = points_of_counter(&counter, at_ms(millis)).unwrap();
        assert_eq!(points, expected, "after an add at {millis} ms");
    }
}
