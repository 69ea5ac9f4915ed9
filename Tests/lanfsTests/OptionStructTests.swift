import Testing

@testable import lanfs

@Suite("What each command makes of its words")
struct OptionStructTests {
    private func put(_ words: Argument...) throws -> PutOptions {
        guard case .put(let options) = try Invocation.parse(["lanfs", "put"] + words) else { throw Failure("not put") }
        return options
    }

    private func get(_ words: Argument...) throws -> GetOptions {
        guard case .get(let options) = try Invocation.parse(["lanfs", "get"] + words) else { throw Failure("not get") }
        return options
    }

    private func mount(_ words: Argument...) throws -> MountOptions {
        guard case .mount(let options) = try Invocation.parse(["lanfs", "mount"] + words) else {
            throw Failure("not mount")
        }
        return options
    }

    private func keygen(_ words: Argument...) throws -> KeygenOptions {
        guard case .keygen(let options) = try Invocation.parse(["lanfs", "keygen"] + words) else {
            throw Failure("not keygen")
        }
        return options
    }

    private func names(_ path: VolumePath) -> [String] { path.components.map { String(decoding: $0, as: UTF8.self) } }

    @Test("client commands share their options and defaults")
    func clientOptions() throws {
        #expect(try put("a").client == ClientOptions(timeoutForTests: .seconds(30)))
        let client = try put(
            "a", "-s", "nas", "--server=[fe80::1%eth0]:99", "-k", "first", "--key", "./second", "--discovery-port=5000",
            "--timeout", "2m", "-vvq", "-v"
        ).client
        #expect(client.servers == [HostPort(host: "nas", port: nil), HostPort(host: "fe80::1%eth0", port: 99)])
        #expect(client.key == .file(.file(LocalPath(Array("./second".utf8)))))
        #expect(client.discoveryPort == Port(5000))
        #expect(client.timeout == .seconds(120))
        #expect(client.common.verbosity == .verbose(1))
        #expect(try put("a", "-vv").client.common.verbosity == .verbose(2))
        #expect(try put("a", "-vq").client.common.verbosity == .quiet)
        #expect(try put("a", "--timeout=0").client.timeout == nil)
        #expect(try put("a", "-u", "alice").client.key == .user("alice"))
        #expect(try put("a", "-k", "default").client.key == .file(.defaultKey))
        #expect(refusal("put", "a", "-u", "alice", "-k", "b") == "--key and --user cannot be used together")
    }

    @Test("put: the last of several operands is the target")
    func putOperands() throws {
        #expect(try put("big.iso").target == .root)
        #expect(try put("big.iso").sources == [.path(LocalPath(Array("big.iso".utf8)))])
        #expect(names(try put("big.iso", "isos/").target) == ["isos"])
        #expect(try put("big.iso", "isos/").target.namesFolder)
        #expect(try put("a", "b", "c", "/x//y/./z").sources.count == 3)
        #expect(names(try put("a", "b", "c", "/x//y/./z").target) == ["x", "y", "z"])
        #expect(try put("-", "name").sources == [.standardInput])
        #expect(try put("./-").sources == [.path(LocalPath(Array("./-".utf8)))])
        let all = try put("-rf", "--create", "--json", "a")
        #expect(all.recursive && all.force && all.create && all.json)
        let none = try put("a")
        #expect(!none.recursive && !none.force && !none.create && !none.json)
        #expect(refusal("put", "-") == "standard input has no name; say what to call it, as in 'lanfs put - NAME'")
        #expect(
            refusal("put", "-", "x/") == "standard input has no name; say what to call it, as in 'lanfs put - NAME'")
        #expect(refusal("put", "-", "a", "x") == "'-' must be the only SOURCE")
        #expect(refusal("put", "a", "-") == "'-' as TARGET means standard output, which 'lanfs get' writes to")
        #expect(refusal("put", "") == "SOURCE: a path must not be empty")
        #expect(
            refusal("put", "a", "../b")
                == "TARGET: '../b': '..' is not understood in the volume; write the path from its root")
    }

    @Test("get: the target is the current folder, a path or standard output")
    func getOperands() throws {
        #expect(try get("isos/big.iso").target == .path(LocalPath(Array("./".utf8))))
        #expect(try get("a", "b").target == .path(LocalPath(Array("b".utf8))))
        #expect(try get("a", "-").target == .standardOutput)
        #expect(try get("a", "b", "c/").sources.map(names) == [["a"], ["b"]])
        #expect(try get("-rf", "/", "c/").sources == [.root])
        #expect(refusal("get", "a", "b", "-") == "only one SOURCE can be written to standard output")
        #expect(
            refusal("get", "-r", "a", "-") == "a folder cannot be written to standard output; leave out --recursive")
        #expect(refusal("get", "--json", "a", "-") == "standard output carries the file; leave out --json")
        #expect(refusal("get", "-")?.hasPrefix("'-' as SOURCE means standard input") == true)
    }

    @Test("ls and rm")
    func listAndRemove() throws {
        guard case .list(let plain) = try invoke("ls"),
            case .list(let full) = try invoke("ls", "-lhRa1", "--json", "a", "b")
        else {
            throw Failure("not ls")
        }
        #expect(plain == ListOptions(timeoutForTests: .seconds(30)))
        #expect(full.long && full.humanReadable && full.recursive && full.all && full.onePerLine && full.json)
        #expect(full.paths.map(names) == [["a"], ["b"]])
        guard case .remove(let remove) = try invoke("rm", "-rf", "a", "--", "-b") else { throw Failure("not rm") }
        #expect(remove.recursive && remove.force && remove.paths.map(names) == [["a"], ["-b"]])
        for root: Argument in ["/", ".", "//./"] {
            #expect(refusal("rm", "a", root)?.hasSuffix("is the volume's root, which cannot be deleted") == true)
        }
        #expect(refusal("rm", "") == "PATH: a path in the volume must not be empty; write / for the volume's root")
    }

    @Test("snapshots are shown by what reads, and dropped by rm")
    func snapshots() throws {
        guard case .list(let list) = try invoke("ls", "--snapshot", "7-aa"),
            case .get(let get) = try invoke("get", "--snapshot=7-aa", "a"),
            case .remove(let remove) = try invoke("rm", "--snapshot", "7-aa")
        else { throw Failure("not ls, get and rm") }
        #expect([list.snapshot, get.snapshot, remove.snapshot].allSatisfy { $0?.text == "7-aa" } && remove.paths.isEmpty)
        #expect(refusal("rm", "--snapshot", "7-aa", "a") == "--snapshot drops a whole snapshot; leave out 'a'")
        let shown = try mount("/mnt", "--snapshot", "7-aa")
        #expect(shown.readOnly && shown.snapshot?.text == "7-aa")
        #expect(
            refusal("mount", "/mnt", "--snapshot", "7-aa", "--recover-force")
                == "--snapshot and --recover-force cannot be used together")
    }

    @Test("serve")
    func serve() throws {
        guard case .serve(let plain) = try invoke("serve") else { throw Failure("not serve") }
        #expect(plain == ServeOptions())
        #expect(
            plain.port == .chosenBySystem && plain.discoveryPort == Port(4444) && plain.quarantine == .seconds(86_400))
        #expect(plain.grace == .seconds(900) && !plain.isWitness)
        let identifier = String(repeating: "0F", count: 32)
        guard
            case .serve(let full) = try invoke(
                "serve", "-d", "/srv", "-c", "1.5T", "-p4445", "--discovery-port", "4000", "-n", "attic", "-a",
                Argument("\(identifier):10G"), "--allow", Argument(identifier.lowercased()), "-l", "10.0.0.1", "-l",
                "::1",
                "--quarantine=0", "--grace=2m", "--witness")
        else { throw Failure("not serve") }
        #expect(full.dataDirectory == LocalPath(Array("/srv".utf8)))
        #expect(full.capacity == ByteSize(bytes: 3 << 39))
        #expect(full.port == ListenPort(4445) && full.discoveryPort == Port(4000) && full.name == "attic")
        #expect(full.admissions.map(\.quota) == [.gibibytes(10), nil])
        #expect(full.admissions.allSatisfy { $0.volume == [UInt8](repeating: 0x0F, count: 32) })
        #expect(full.listenAddresses.map(\.address) == ["10.0.0.1", "::1"])
        #expect(full.quarantine == .zero && full.grace == .seconds(120) && full.isWitness)
        #expect(refusal("serve", "--grace", "9s") == "--grace: a server that is only slow is not lost; give at least 10s")
        #expect(refusal("serve", "-c", "0") == "--capacity: a server needs room; give more than 0")
        #expect(refusal("serve", "-c", "10Q", "-c", "10G")?.hasPrefix("-c: '10Q' is not a size") == true)
    }

    @Test("discover")
    func discover() throws {
        guard case .discover(let plain) = try invoke("discover"),
            case .discover(let full) = try invoke(
                "discover", "-n50G", "-w", "3s", "--json", "-s", "nas:1", "-k", "work")
        else { throw Failure("not discover") }
        #expect(plain == DiscoverOptions())
        #expect(full.need == .gibibytes(50) && full.wait == .seconds(3) && full.json && full.servers.count == 1)
        #expect(full.key == .file(.named("work")))
        #expect(refusal("discover", "--wait=0") == "--wait: no answer can come in no time; give at least 100ms")
    }

    @Test("keygen does one thing at a time")
    func keygenActions() throws {
        #expect(try keygen() == KeygenOptions())
        #expect(try keygen("work").key == .named("work"))
        #expect(try keygen("./work").key == .file(LocalPath(Array("./work".utf8))))
        #expect(try keygen("-o", "f").key == .file(LocalPath(Array("f".utf8))))
        #expect(try keygen("--export", "work").action == .exportPhrase)
        #expect(try keygen("--import").action == .importPhrase)
        #expect(try keygen("--show-id").action == .showID)
        #expect(try keygen("-ualice").action == .derive(user: "alice"))
        #expect(refusal("keygen", "--import", "--export") == "--export and --import cannot be used together")
        #expect(refusal("keygen", "-u", "a", "--show-id") == "--user and --show-id cannot be used together")
        #expect(refusal("keygen", "-o", "f", "--export") == "--output and --export cannot be used together")
        #expect(
            refusal("keygen", "-o", "f", "work") == "--output and 'work' both say where the key goes; give one of them")
        #expect(
            refusal("keygen", "--force")
                == "unknown option '--force'; it belongs to 'lanfs put', 'lanfs get', 'lanfs rm'")
    }

    @Test("mount")
    func mountOptions() throws {
        let plain = try mount("/mnt")
        #expect(plain.client.timeout == nil, "a mount waits for ever")
        #expect(plain.cacheMemory == .mebibytes(256))
        #expect(plain.embeddedServer == nil && plain.mountPoint == LocalPath(Array("/mnt".utf8)))
        let full = try mount(
            "--serve", "-d", "/srv", "-c", "10G", "-f", "--create", "-r", "--cache-memory=16MiB",
            "/mnt")
        #expect(full.embeddedServer == .init(dataDirectory: LocalPath(Array("/srv".utf8)), capacity: .gibibytes(10)))
        #expect(full.foreground && full.create && full.readOnly)
        #expect(full.cacheMemory == .mebibytes(16))
        #expect(refusal("mount", "-d", "/srv", "/mnt") == "--data-dir has a meaning only together with --serve")
        #expect(refusal("mount", "-c", "1G", "/mnt") == "--capacity has a meaning only together with --serve")
        #expect(
            refusal("mount", "--cache-memory=1M", "/mnt") == "--cache-memory: 1MiB is too little; the least is 16MiB")
        #expect(refusal("mount", "") == "MOUNTPOINT: a path must not be empty")
    }

    @Test("mount -o: what stands in an fstab has its effect, and the option's own name wins")
    func mountWords() throws {
        let words = try mount(
            "/mnt", "-o",
            "rw,ro,allow_root,allow_other,default_permissions,nonempty,auto_unmount,nosuid,nodev,noatime,context=a_t:s0",
            "-orelatime,_netdev,x-systemd.automount,X-mount.mkdir,user=root,nofail,comment=a\\,b,fsname=vault\\,1",
            "-o", "server=a,server=b:2,timeout=1m,key=work,discovery-port=5000,cache-memory=32M,create",
            "-s", "c")
        #expect(words.readOnly && words.access == .everyone && words.create && words.nonEmpty && words.autoUnmount)
        #expect(words.kernelWords == ["nosuid", "nodev", "context=a_t:s0"])
        #expect(words.fileSystemName == "vault,1")
        #expect(words.client.servers.map(\.description) == ["c", "a", "b:2"])
        #expect(words.client.timeout == .seconds(60) && words.client.key == .file(.named("work")))
        #expect(words.client.discoveryPort == Port(5000))
        #expect(words.cacheMemory == .mebibytes(32))

        let both = try mount(
            "/mnt", "--timeout=5s", "-k", "mine", "-r", "-o", "timeout=9s,key=work,rw")
        #expect(both.client.timeout == .seconds(5) && both.client.key == .file(.named("mine")) && both.readOnly)
        #expect(try mount("/mnt", "-o", ",,").kernelWords == [])

        #expect(
            refusal("mount", "/mnt", "-o", "alow_other")
                == "-o: unknown option 'alow_other'; did you mean 'allow_other'?")
        #expect(refusal("mount", "/mnt", "-o", "fsname=")?.hasPrefix("-o fsname: ") == true)
        #expect(try mount("/mnt", "-o", "sync,dirsync,async").kernelWords == ["sync", "dirsync", "async"])
        #expect(
            refusal("mount", "/mnt", "-o", "cache-memory=1") == "--cache-memory: 1 is too little; the least is 16MiB")
    }

    @Test("as mount.lanfs it speaks the language of mount(8)")
    func helper() throws {
        func helper(_ words: Argument...) throws -> MountHelper {
            guard case .mountHelper(let helper) = try Invocation.parse(words) else { throw Failure("not the helper") }
            return helper
        }
        let plain = try helper("/sbin/mount.lanfs", "none", "/mnt", "-o", "rw,_netdev,noexec")
        #expect(plain.options.client.key == .file(.defaultKey) && !plain.isRehearsal && !plain.options.readOnly)
        #expect(plain.options.kernelWords == ["noexec"] && plain.options.client.timeout == nil)
        let named = try helper(
            "mount.fuse.lanfs", "work", "/mnt", "-sfnv", "-N", "3", "-t", "fuse.lanfs", "-o", "ro,bogus,fsname=vault")
        #expect(named.options.client.key == .file(.named("work")) && named.isRehearsal && named.options.readOnly)
        #expect(named.options.fileSystemName == "vault")
        #expect(try helper("mount.lanfs", "/etc/lanfs.key", "/mnt", "-r").options.readOnly)
        #expect(refusal(of: ["mount.lanfs", "none", "/mnt", "-o", "bogus"]) == "-o: unknown option 'bogus'")
        #expect(refusal(of: ["mount.lanfs", "none"]) == "missing MOUNTPOINT, as in 'mount -t lanfs none /mnt/volume'")
        #expect(ExitCode.usage.asMountHelper == 1 && ExitCode.noServer.asMountHelper == 32)
    }
}

extension ClientOptions {
    init(timeoutForTests timeout: Duration) {
        self.init()
        self.timeout = timeout
    }
}

extension ListOptions {
    init(timeoutForTests timeout: Duration) {
        self.init()
        client.timeout = timeout
    }
}
