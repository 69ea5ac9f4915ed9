/// Numbers of the kernel's interface that Glibc's module does not export to Swift.
enum KernelConstant {
    /// linux/falloc.h
    static let keepSize: Int32 = 0x01
    static let punchHole: Int32 = 0x02
    static let zeroRange: Int32 = 0x10
    /// linux/fs.h
    static let seekData: Int32 = 3
    static let seekHole: Int32 = 4
    /// linux/xattr.h
    static let attributeCreate: Int32 = 1
    static let attributeReplace: Int32 = 2
}
