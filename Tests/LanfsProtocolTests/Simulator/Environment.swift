import Glibc

/// `LANFS_SEED` replays one seed, `LANFS_SEEDS` says how many to run, `LANFS_MUTANT_SEEDS` how many at most until a mutant
/// is found.
func environment(_ name: String) -> UInt64? {
    getenv(name).flatMap { UInt64(String(cString: $0)) }
}
