//! The CPU time a control group grants, as a number of CPUs.

use std::path::{Component, Path, PathBuf};

use super::source::Source;

/// How many whole CPUs' worth of time the control groups above this process grant; `None` without a limit.
///
/// The tightest limit on the way from the process's group to the root counts. It is rounded down, to at least one: a
/// spinner that is given a fraction too much is stopped for the rest of every period (usually 100 ms).
pub(super) fn cpu_quota(source: &Source) -> Option<usize> {
    let groups = source.read_optional("/proc/self/cgroup")?;
    let mounts = source.read_optional("/proc/self/mountinfo")?;
    mounts.lines().filter_map(Mount::parse).filter_map(|mount| mount.quota(source, &groups)).min()
}

/// A mounted control-group hierarchy that can limit CPU time.
struct Mount {
    is_v2: bool,
    /// The group that appears at `point`; not `/` when a container sees only its own part of the hierarchy.
    group: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// One line of `mountinfo`: `id parent dev GROUP POINT options [tags] - TYPE source SUPER-OPTIONS`.
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (group, point) = (unescape(left.next()?), unescape(left.next()?));
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let is_v2 = match kind {
            "cgroup2" => true,
            "cgroup" if options.split(',').any(|option| option == "cpu") => false,
            _ => return None,
        };
        Some(Mount { is_v2, group: group.into(), point: point.into() })
    }

    /// The tightest limit from this process's group up to the mount point.
    fn quota(&self, source: &Source, groups: &str) -> Option<usize> {
        let own = groups.lines().find_map(|line| self.own_group(line))?;
        let mut below = self.below_point(Path::new(own))?;
        let mut tightest = None;
        loop {
            let limit = self.limit(source, &self.point.join(&below));
            tightest = tightest.into_iter().chain(limit).min();
            if !below.pop() {
                return tightest;
            }
        }
    }

    /// The group in a line `id:controllers:group` of `/proc/self/cgroup`, if the line is about this hierarchy.
    fn own_group<'t>(&self, line: &'t str) -> Option<&'t str> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let is_ours =
            if self.is_v2 { controllers.is_empty() } else { controllers.split(',').any(|name| name == "cpu") };
        is_ours.then_some(group)
    }

    /// The group as a path below the mount point; `None` if the mount shows another part of the hierarchy, such as a
    /// neighbour's. A group above the namespace's root (`/../x`) counts as the mount point itself.
    fn below_point(&self, own: &Path) -> Option<PathBuf> {
        let below = own.strip_prefix(&self.group).ok()?;
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        Some(if is_plain { below.to_owned() } else { PathBuf::new() })
    }

    fn limit(&self, source: &Source, directory: &Path) -> Option<usize> {
        if self.is_v2 {
            let text = source.read_optional(directory.join("cpu.max"))?;
            let mut words = text.split_ascii_whitespace();
            whole_cpus(words.next()?, words.next()?)
        } else {
            let quota = source.read_optional(directory.join("cpu.cfs_quota_us"))?;
            let period = source.read_optional(directory.join("cpu.cfs_period_us"))?;
            whole_cpus(quota.trim(), period.trim())
        }
    }
}

/// Time per period as whole CPUs, at least one. "No limit" is `max` (v2) or `-1` (v1), and so is anything unreadable.
fn whole_cpus(quota_us: &str, period_us: &str) -> Option<usize> {
    let quota_us: u64 = quota_us.parse().ok()?;
    let period_us: u64 = period_us.parse().ok()?;
    usize::try_from(quota_us.checked_div(period_us)?.max(1)).ok()
}

/// `mountinfo` writes space, tab, newline and backslash as octal escapes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::tree;
    use super::*;

    const V2: (&str, &str) = ("/proc/self/mountinfo", "35 24 0:30 / /cg rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");

    fn quota(files: &[(&str, &str)]) -> Option<usize> {
        let (_directory, source) = tree(files);
        cpu_quota(&source)
    }

    #[test]
    fn v2_takes_the_tightest_limit_on_the_way_to_the_root() {
        let files = |inner, outer| {
            let own = ("/proc/self/cgroup", "0::/outer/inner\n");
            quota(&[V2, own, ("/cg/outer/inner/cpu.max", inner), ("/cg/outer/cpu.max", outer)])
        };
        assert_eq!(files("max 100000\n", "350000 100000\n"), Some(3));
        assert_eq!(files("200000 100000\n", "350000 100000\n"), Some(2));
        assert_eq!(files("50000 100000\n", "max 100000\n"), Some(1));
        assert_eq!(files("max 100000\n", "max 100000\n"), None);
    }

    #[test]
    fn v1_reads_quota_and_period_of_the_cpu_controller_only() {
        let mounts =
            "30 25 0:27 / /cs rw - cgroup cgroup rw,cpuset\n31 25 0:28 / /cg rw - cgroup cgroup rw,cpu,cpuacct\n";
        let files = |quota_us| {
            quota(&[
                ("/proc/self/mountinfo", mounts),
                ("/proc/self/cgroup", "4:cpuset:/a\n3:cpu,cpuacct:/b\n"),
                ("/cg/b/cpu.cfs_quota_us", quota_us),
                ("/cg/b/cpu.cfs_period_us", "50000\n"),
                ("/cs/a/cpu.cfs_quota_us", "50000\n"),
                ("/cs/a/cpu.cfs_period_us", "50000\n"),
            ])
        };
        assert_eq!(files("100000\n"), Some(2));
        assert_eq!(files("-1\n"), None);
    }

    #[test]
    fn a_container_that_sees_its_own_group_at_the_mount_point_is_limited_by_it() {
        let mounts = "35 24 0:30 /docker/abc /cg rw - cgroup2 cgroup2 rw\n";
        let files = |own| {
            quota(&[
                ("/proc/self/mountinfo", mounts),
                ("/proc/self/cgroup", own),
                ("/cg/cpu.max", "400000 100000\n"),
                ("/cg/job/cpu.max", "100000 100000\n"),
            ])
        };
        assert_eq!(files("0::/docker/abc\n"), Some(4));
        assert_eq!(files("0::/docker/abc/job\n"), Some(1));
        assert_eq!(files("0::/docker/neighbour\n"), None);
    }

    #[test]
    fn a_group_above_the_namespace_is_limited_by_what_the_mount_point_shows() {
        let own = ("/proc/self/cgroup", "0::/../elsewhere\n");
        assert_eq!(quota(&[V2, own, ("/cg/cpu.max", "400000 100000\n")]), Some(4));
    }

    #[test]
    fn garbage_and_missing_files_mean_no_limit() {
        assert_eq!(quota(&[]), None);
        assert_eq!(quota(&[V2, ("/proc/self/cgroup", "0::/\n")]), None);
        for text in ["", "max", "x y", "100000 0", "-5 100000", "100000"] {
            assert_eq!(quota(&[V2, ("/proc/self/cgroup", "0::/\n"), ("/cg/cpu.max", text)]), None, "{text:?}");
        }
        assert_eq!(quota(&[("/proc/self/mountinfo", "nonsense\n- - -\n"), ("/proc/self/cgroup", ":::\n\n")]), None);
    }

    #[test]
    fn escaped_mount_points_are_found() {
        let mounts = "35 24 0:30 / /my\\040cg rw - cgroup2 cgroup2 rw\n";
        let own = ("/proc/self/cgroup", "0::/\n");
        assert_eq!(quota(&[("/proc/self/mountinfo", mounts), own, ("/my cg/cpu.max", "300000 100000")]), Some(3));
    }
}
