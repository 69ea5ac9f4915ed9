/// What a volume takes; beyond it operations fail with the errno named.
public enum FileSystemLimits {
    /// Bytes of a name (`ENAMETOOLONG`).
    public static let name = 255
    /// Bytes of a symbolic link's target (`ENAMETOOLONG`).
    public static let target = 4095
    /// Bytes of a file (`EFBIG`).
    public static let fileSize = UInt64(Int64.max)
    /// Hard links of a file, and two more than the subdirectories of a directory (`EMLINK`).
    public static let links = UInt32(Int32.max)
    /// Bytes of a file's start that may be kept in its inode's record.
    public static let inlineContents = 2048
    /// Bytes of an extended attribute's name, with its prefix (`ERANGE`), and of its value (`E2BIG`).
    public static let attributeName = 255
    public static let attributeValue = 65536
    /// Bytes of the names of a file's extended attributes together, a NUL after each: more could not be listed
    /// (`ENOSPC`).
    public static let attributeNames = 65536
    /// Runs of chunks that an operation removes within its own transaction; what is left is queued or left to a
    /// repetition, so that no transaction grows with the size of a file.
    public static let runsAtOnce = 64
    public static let runsPerTruncation = 4096
    /// Runs that a search for a hole passes before it answers "none".
    public static let runsPerSearch = 4096
    /// Inode numbers that one reservation hands out.
    public static let inodesPerReservation: UInt64 = 1 << 20
}
