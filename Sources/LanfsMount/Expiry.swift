import CFuse
import Glibc
import LanfsFileSystem

extension MountSession {
    /// The kernel asks for the inode's attributes at their next use. Where the size or the time of the last change is another one
    /// then, it drops the pages; where the inode is gone, it looks the name up again. At once, on the caller's thread: it waits
    /// for nothing. What the kernel does not know needs no more.
    ///
    /// It is all that the kernel is told. For a name it takes the directory's lock, for pages it waits until every read of
    /// them is answered, in both cases in a way that kill -9 does not end; and whoever waits there keeps the connection open,
    /// so that the answer that is waited for never fails. Killed in there this process would stay for ever, with the mount
    /// point and everybody who looks at either. So names are not remembered instead while others may change them (``Bridge/entry(_:)``).
    public func expire(_ inode: InodeNumber) {
        // A negative offset: no pages.
        notify(FUSE_NOTIFY_INVAL_INODE.rawValue, fuse_notify_inval_inode_out(ino: inode, off: -1, len: 0))
    }

    /// Written here and not through libfuse, which complains on stderr about answers that are no trouble.
    func notify<Body>(_ code: UInt32, _ body: Body, name: [UInt8]? = nil) {
        var header = fuse_out_header()
        header.error = Int32(bitPattern: code)
        var message: [UInt8] = []
        withUnsafeBytes(of: body) { message += $0 }
        if let name { message += name + [0] }
        header.len = UInt32(MemoryLayout<fuse_out_header>.size + message.count)
        let packet = withUnsafeBytes(of: header) { Array($0) } + message
        _ = packet.withUnsafeBytes { write(session.connection, $0.baseAddress, $0.count) }
    }
}
