import CRIProtocol
import RuntimeModel
import Testing

@testable import CRIServer

@Suite struct SandboxPlanTests {
  private static func plan(_ change: (inout Runtime_V1_RunPodSandboxRequest) -> Void = { _ in }) throws -> SandboxPlan {
    var request = Runtime_V1_RunPodSandboxRequest()
    request.config.metadata.name = "web"
    request.config.metadata.namespace = "default"
    request.config.metadata.uid = "u1"
    change(&request)
    return try SandboxPlan(request, defaultParent: "/swiftlet")
  }

  @Test func nothingButMetadataIsNeeded() throws {
    let plan = try Self.plan()
    #expect(plan.cgroupParent == "/swiftlet" && plan.namespaces.pid == .pod && !plan.namespaces.hasHostNetwork)
  }

  @Test func kubeletsParentIsTakenAsItIs() throws {
    #expect(
      try Self.plan { $0.config.linux.cgroupParent = "/kubepods/burstable/podx/" }.cgroupParent
        == "/kubepods/burstable/podx")
  }

  @Test func whatKubernetesWritesIntoResolvConfIsTaken() throws {
    _ = try Self.plan {
      $0.config.hostname = "web-0.my_service"
      $0.config.dnsConfig.servers = ["10.96.0.10", "fd00::a", "fe80::1%eth0"]
      $0.config.dnsConfig.searches = ["default.svc.cluster.local", "svc.cluster.local.", ".", "_tcp.example"]
      $0.config.dnsConfig.options = ["ndots:5", "use-vc", "single-request-reopen", "trust-ad"]
      $0.config.linux.sysctls = ["net.ipv4.ip_local_port_range": "1024\t65535", "fs/mqueue/msg_max": "20"]
    }
  }

  /// What is refused, with the part of the text that names it (ATTACKS L30 among them).
  static let refused: [(String, @Sendable (inout Runtime_V1_RunPodSandboxRequest) -> Void)] = [
    ("metadata.name", { $0.config.metadata.name = "" }),
    ("metadata.namespace", { $0.config.metadata.namespace = "" }),
    ("metadata.uid", { $0.config.metadata.uid = "" }),
    ("metadata is missing", { $0.config.clearMetadata() }),
    ("config is missing", { $0.clearConfig() }),
    ("runtime_handler", { $0.runtimeHandler = "kata" }),
    ("cgroup_parent", { $0.config.linux.cgroupParent = "/a/../../x" }),
    ("cgroup_parent", { $0.config.linux.cgroupParent = "../x" }),
    ("cgroup_parent", { $0.config.linux.cgroupParent = "a" }),
    ("cgroup_parent", { $0.config.linux.cgroupParent = "/" + String(repeating: "a", count: 5000) }),
    ("cgroupfs", { $0.config.linux.cgroupParent = "/kubepods.slice/kubepods-podx.slice" }),
    ("hostname", { $0.config.hostname = String(repeating: "h", count: 65) }),
    ("log_directory", { $0.config.logDirectory = "logs" }),
    ("hostname", { $0.config.hostname = "a\n6.6.6.6\tregistry" }),
    ("dns_config.servers", { $0.config.dnsConfig.servers = ["1.2.3.4\noptions x"] }),
    ("dns_config.servers", { $0.config.dnsConfig.servers = ["fe80::1%"] }),
    ("dns_config.servers", { $0.config.dnsConfig.servers = ["1.2.3.4%eth0"] }),
    ("dns_config.searches", { $0.config.dnsConfig.searches = [".."] }),
    ("dns_config.options", { $0.config.dnsConfig.options = ["ndots=5"] }),
    ("not both", { $0.config.linux.sysctls = ["net.ipv4/x": "1"] }),
    ("not namespaced", { $0.config.linux.sysctls = ["kernel.core_pattern": "|/x"] }),
    ("once more", { $0.config.linux.sysctls = ["net.ipv4.x": "1", "net/ipv4/x": "1"] }),
    ("config.hostname", { $0.config.linux.sysctls = ["kernel.hostname": "x"] }),
    ("target", { $0.config.linux.securityContext.namespaceOptions.pid = .target }),
    ("userns_options", { $0.config.linux.securityContext.namespaceOptions.usernsOptions.mode = .pod }),
    ("run_as_group", { $0.config.linux.securityContext.runAsGroup.value = 5 }),
    ("localhost_ref", { $0.config.linux.securityContext.seccomp.localhostRef = "/x" }),
  ]

  @Test(arguments: refused.indices)
  func refusals(_ index: Int) {
    let (text, change) = Self.refused[index]
    #expect {
      try Self.plan(change)
    } throws: { error in
      "\(error)".lowercased().contains(text.lowercased())
    }
  }
}
