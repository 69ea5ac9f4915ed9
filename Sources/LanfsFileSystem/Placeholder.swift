enum LanfsFileSystemPlaceholder {}
