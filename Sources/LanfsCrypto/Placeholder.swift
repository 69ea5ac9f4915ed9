import CSodium
import Crypto
public func probe() -> String { _ = sodium_init(); return "\(SHA256.hash(data: [1,2,3] as [UInt8]))" + String(cString: sodium_version_string()) }
