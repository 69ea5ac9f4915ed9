import Glibc
import Testing

@testable import LanfsMount

@Suite("Mount options and the mount table")
struct OptionTests {
    @Test("what fstab and people write is understood")
    func known() throws {
        var options = MountOptions(volumeName: "abc")
        try options.apply("ro,noatime,exec,suid,allow_other,max_read=65536,_netdev,nofail,x-systemd.automount,user=me")
        #expect(options.readOnly && options.allowOther && options.maxRead == 65536)
        let words = Set(options.helperOptions)
        #expect(
            words.isSuperset(of: [
                "ro", "noatime", "nodev", "default_permissions", "allow_other", "max_read=65536", "fsname=lanfs:abc",
                "subtype=lanfs",
            ]))
        #expect(words.isDisjoint(with: ["nosuid", "rw", "noexec", "_netdev", "user=me"]))
    }

    @Test("sync and dirsync are flags of the kernel and our business, the last word counts")
    func synchrony() throws {
        for (list, flags, synchrony) in [
            ("sync", ["sync"], Synchrony.everything), ("dirsync", ["dirsync"], .names), ("sync,async", [], .nothing),
            ("async,dirsync,sync", ["sync", "dirsync"], .everything), ("defaults", [], .nothing),
        ] {
            var options = MountOptions(volumeName: "abc")
            try options.apply(list)
            #expect(options.synchrony == synchrony, "\(list)")
            #expect(options.helperOptions.filter { ["sync", "dirsync"].contains($0) } == flags, "\(list)")
        }
    }

    @Test("allow_root is allow_other for the kernel and a check for libfuse")
    func allowRoot() throws {
        var options = MountOptions(volumeName: "abc")
        try options.apply("allow_root")
        #expect(options.kernelOptions.contains("allow_other"))
        #expect(options.libraryOptions == ["allow_root"])
        #expect(throws: MountError.self) { try options.apply("allow_other") }
    }

    @Test("what is not understood is named", arguments: ["frobnicate", "max_read=x", "max_read=1", "max_read", "ro=1"])
    func unknown(_ option: String) {
        var options = MountOptions(volumeName: "abc")
        let error = #expect(throws: MountError.self) { try options.apply("rw,\(option)") }
        #expect(error?.description.contains("'\(option)'") == true)
    }

    @Test("a volume's name cannot break out of the options")
    func names() {
        #expect(MountOptions(volumeName: "a,b c\\d/é").source == "lanfs:a-b-c-d--")
    }

    @Test("mountinfo is read, with its escapes, and damaged lines are skipped")
    func table() {
        let text = """
            36 35 0:57 / /mnt/a\\040b\\134c rw,nosuid shared:1 master:2 - fuse.lanfs lanfs:x rw,user_id=0
            37 35 0:58 / /mnt/plain rw - fuse.sshfs host:/dir rw
            damaged
            38 35 0:59 / /mnt/no-dash rw fuse x
            39 35 0:60 / /mnt/\\09 rw - fuse.lanfs s

            """
        let entries = MountTable.entries(in: Array(text.utf8))
        #expect(entries.count == 3)
        #expect(
            entries.first
                == MountTableEntry(
                    device: "0:57", path: Array("/mnt/a b\\c".utf8), type: "fuse.lanfs", source: "lanfs:x"))
        #expect(entries.last?.path == Array("/mnt/\\09".utf8))
        #expect(entries.map(\.isLanfs) == [true, false, true])
    }
}
