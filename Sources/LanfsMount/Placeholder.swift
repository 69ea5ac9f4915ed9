import CFuse
public func probeFuse() -> String { String(cString: fuse_pkgversion()) }
