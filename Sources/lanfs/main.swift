import LanfsCrypto
import LanfsNetwork
import LanfsMount
print(probe(), try await probeNIO(), probeFuse())
