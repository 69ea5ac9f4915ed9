/// G2: a commit may refer to a block only while no sweep can take it.
///
/// A sweep made for the root of collection `g` takes blocks tagged at most `g - 2`. A commit on a base of collection `b`
/// can meet the sweeps of `b`, and those of `b + 1` that a next client starts from the root this commit makes; but that
/// one finds the block reached. So a tag of at least `b - 1` is enough.
public enum UploadFence {
    /// Whether a commit on a root of collection `base` may refer to a block uploaded or touched with `tag`. If not, it
    /// has to be sent again, or touched, with the newest tag.
    public static func allows(base: UInt64, tag: UInt64) -> Bool { base <= tag || base - tag == 1 }
}
