//! How a window is divided.

use std::time::Duration;

use thiserror::Error;

/// Number and length of the buckets of a window, checked.
///
/// ```
/// use std::time::Duration;
/// use plimsoll_meter::WindowShape;
///
/// let shape = WindowShape::new(10, Duration::from_millis(100))?;
/// assert_eq!(shape.length(), Duration::from_secs(1));
/// assert!(WindowShape::new(0, Duration::from_millis(100)).is_err());
/// # Ok::<(), plimsoll_meter::WindowError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowShape {
    size: u16,
    bucket_nanos: u64,
}

/// Why a window cannot have that shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WindowError {
    /// There is no bucket, or there are more than [`WindowShape::SIZE_MAX`].
    #[error("a window of {given} buckets is not possible, between 1 and {max} are accepted", max = WindowShape::SIZE_MAX)]
    Size {
        /// The number that was asked for.
        given: usize,
    },
    /// The buckets are shorter than [`WindowShape::BUCKET_DURATION_MIN`] or
    /// longer than [`WindowShape::BUCKET_DURATION_MAX`].
    #[error(
        "a bucket of {given:?} is not possible, between {min:?} and {max:?} are accepted",
        min = WindowShape::BUCKET_DURATION_MIN,
        max = WindowShape::BUCKET_DURATION_MAX
    )]
    BucketDuration {
        /// The duration that was asked for.
        given: Duration,
    },
}

// === impl WindowShape ===

impl WindowShape {
    /// The most buckets that a window may have.
    pub const SIZE_MAX: usize = 4_096;

    /// The shortest bucket.
    pub const BUCKET_DURATION_MIN: Duration = Duration::from_millis(1);

    /// The longest bucket, a day.
    pub const BUCKET_DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// `size` buckets of `bucket_duration` each.
    ///
    /// # Errors
    ///
    /// If there is no bucket or more than [`Self::SIZE_MAX`], or if a bucket is
    /// shorter than [`Self::BUCKET_DURATION_MIN`] or longer than
    /// [`Self::BUCKET_DURATION_MAX`].
    pub fn new(size: usize, bucket_duration: Duration) -> Result<Self, WindowError> {
        let accepted = Self::BUCKET_DURATION_MIN..=Self::BUCKET_DURATION_MAX;
        let checked_size = u16::try_from(size).ok();
        match checked_size.filter(|_| (1..=Self::SIZE_MAX).contains(&size)) {
            None => Err(WindowError::Size { given: size }),
            Some(_) if !accepted.contains(&bucket_duration) => Err(WindowError::BucketDuration {
                given: bucket_duration,
            }),
            Some(size) => Ok(Self {
                size,
                // A day is 8.64 × 10¹³ ns.
                bucket_nanos: bucket_duration.as_nanos() as u64,
            }),
        }
    }

    /// The number of buckets.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size as usize
    }

    /// The length of a bucket.
    #[must_use]
    pub const fn bucket_duration(&self) -> Duration {
        Duration::from_nanos(self.bucket_nanos)
    }

    /// The length of the window: all buckets.
    #[must_use]
    pub const fn length(&self) -> Duration {
        Duration::from_nanos(self.bucket_nanos * self.size as u64)
    }

    #[inline]
    pub(super) const fn bucket_nanos(&self) -> u64 {
        self.bucket_nanos
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn shapes_that_cannot_be_are_refused_with_the_reason() {
        for given in [0, WindowShape::SIZE_MAX + 1, 65_536, 65_537, usize::MAX] {
            assert_eq!(
                WindowShape::new(given, MS),
                Err(WindowError::Size { given })
            );
        }
        let too_long = WindowShape::BUCKET_DURATION_MAX + Duration::from_nanos(1);
        let too_short = MS - Duration::from_nanos(1);
        for given in [Duration::ZERO, too_short, too_long, Duration::MAX] {
            let error = WindowError::BucketDuration { given };
            assert_eq!(WindowShape::new(10, given), Err(error));
        }
        assert_eq!(
            WindowError::Size { given: 0 }.to_string(),
            "a window of 0 buckets is not possible, between 1 and 4096 are accepted"
        );
        assert_eq!(
            WindowError::BucketDuration {
                given: Duration::ZERO
            }
            .to_string(),
            "a bucket of 0ns is not possible, between 1ms and 86400s are accepted"
        );
    }

    #[test]
    fn the_largest_shape_keeps_its_numbers() {
        let day = WindowShape::BUCKET_DURATION_MAX;
        let shape = WindowShape::new(WindowShape::SIZE_MAX, day).unwrap();
        assert_eq!((shape.size(), shape.bucket_duration()), (4_096, day));
        assert_eq!(shape.length(), day * 4_096);
    }
}
