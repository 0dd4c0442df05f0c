// Reads a stream with libzmq and the code that protoc makes of perception.proto.
//
//   ./reader tcp://127.0.0.1:5555
//   ./reader tcp://vehicle:5555 --keys laptop --server-key vehicle.key    # a stream with keys
#include <zmq.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "perception.pb.h"

namespace pb = edge::perception::v1;

namespace {

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
    std::exit(3);
}

// What whoever started this can mend.
[[noreturn]] void refuse(const std::string& what) {
    std::fprintf(stderr, "error: %s\n", what.c_str());
    std::exit(2);
}

struct Arguments {
    std::string endpoint = "tcp://127.0.0.1:5555";
    std::string keys;        // the folder of this reader's own pair
    std::string server_key;  // the file with the publisher's public key
};

Arguments parse(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word != "--keys" && word != "--server-key") {
            if (word.rfind("--", 0) == 0) refuse(word + ": is no option; use --keys FOLDER and --server-key NAME.key");
            arguments.endpoint = word;
        } else if (++i == argc) {
            refuse(word + ": what it names is missing; use --keys FOLDER and --server-key NAME.key");
        } else {
            (word == "--keys" ? arguments.keys : arguments.server_key) = argv[i];
        }
    }
    if (arguments.keys.empty() != arguments.server_key.empty()) {
        refuse(arguments.endpoint + ": one key is missing; give --keys and --server-key, or none");
    }
    return arguments;
}

// The file of a folder that `perception keys new` made which holds both of its keys.
std::string pair_in(const std::string& folder) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        if (entry.path().extension() == ".key_secret") return entry.path().string();
    }
    refuse(folder + ": no secret key (*.key_secret) is there; make one with `perception keys new NAME`");
}

// A key of a file: in Z85, behind `public-key = "` or `secret-key = "`.
std::string key_in(const std::string& path, const std::string& name) {
    std::ifstream file(path);
    const std::string before = name + " = \"";
    for (std::string line; std::getline(file, line);) {
        const std::size_t at = line.find(before);
        if (at == std::string::npos) continue;
        const std::size_t begin = at + before.size();
        return line.substr(begin, line.find('"', begin) - begin);
    }
    refuse(path + ": has no " + name + "; give files that `perception keys new` made");
}

// Before the socket connects.
void use_keys(void* socket, const std::string& folder, const std::string& server_key) {
    if (zmq_has("curve") == 0) refuse("this libzmq was built without CURVE: use one with libsodium");
    const std::string pair = pair_in(folder);
    const auto set = [socket](int option, const std::string& path, const std::string& name) {
        const std::string key = key_in(path, name);
        if (zmq_setsockopt(socket, option, key.data(), key.size()) != 0) {
            refuse(path + ": its " + name + " is no key; give files that `perception keys new` made");
        }
    };
    set(ZMQ_CURVE_PUBLICKEY, pair, "public-key");
    set(ZMQ_CURVE_SECRETKEY, pair, "secret-key");
    set(ZMQ_CURVE_SERVERKEY, server_key, "public-key");
}

// One part of a message; `more` tells whether another part follows.
std::string receive_part(void* socket, bool& more) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    if (zmq_msg_recv(&part, socket, 0) < 0) fail("receive");
    std::string bytes(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
    more = zmq_msg_more(&part) != 0;
    zmq_msg_close(&part);
    return bytes;
}

void print_frame(const pb::FrameResult& frame) {
    std::printf("%s frame %" PRIu64 " %.3f s: ", frame.sensor().c_str(),
                static_cast<std::uint64_t>(frame.frame_sequence()), static_cast<double>(frame.stamp_ns()) / 1e9);
    if (frame.status() != pb::OK) {
        std::printf("%s %s\n", pb::Status_Name(frame.status()).c_str(), frame.status_reason().c_str());
    } else {
        std::printf("%d boxes", frame.detections_size());
        const char* separator = " ";
        for (const pb::Detection& box : frame.detections()) {
            std::printf("%s%s %.2f", separator, box.class_name().c_str(), static_cast<double>(box.score()));
            separator = ", ";
        }
        std::printf("\n");
    }
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const Arguments arguments = parse(argc, argv);
    const char* endpoint = arguments.endpoint.c_str();
    void* context = zmq_ctx_new();
    void* socket = zmq_socket(context, ZMQ_SUB);
    const std::string prefix = "detections/";  // detections/front/ for one sensor
    if (zmq_setsockopt(socket, ZMQ_SUBSCRIBE, prefix.data(), prefix.size()) != 0) fail("subscribe");
    if (!arguments.keys.empty()) use_keys(socket, arguments.keys, arguments.server_key);
    if (zmq_connect(socket, endpoint) != 0) fail(endpoint);
    std::fprintf(stderr, "reading %s\n", endpoint);

    std::map<std::string, std::uint64_t> expected;  // the next sequence of each topic
    std::set<std::string> open_topics;
    std::string session;
    std::uint64_t received = 0, lost = 0;
    for (;;) {
        bool more = false;
        const std::string topic = receive_part(socket, more);
        const std::string payload = more ? receive_part(socket, more) : std::string();
        while (more) receive_part(socket, more);  // no message of ours has more than two parts
        pb::FrameResult frame;
        if (!frame.ParseFromString(payload) || frame.session().empty()) {
            std::fprintf(stderr, "passed over what is no message of edge-perception\n");
            continue;
        }

        if (frame.session() != session) {  // the first message, or the publisher has started again
            for (auto& [known, next] : expected) next = 0;
            session = frame.session();
            open_topics.clear();
        }
        const auto next = expected.find(topic);
        if (next != expected.end()) lost += frame.sequence() - next->second;
        expected[topic] = frame.sequence() + 1;

        if (frame.status() == pb::END_OF_STREAM) {
            open_topics.erase(topic);
            if (open_topics.empty()) break;  // every sensor has come to its end
            continue;
        }
        open_topics.insert(topic);
        ++received;
        print_frame(frame);
    }

    std::fprintf(stderr, "received %" PRIu64 ", lost %" PRIu64 "\n", received, lost);
    zmq_close(socket);
    zmq_ctx_term(context);
    return lost == 0 ? 0 : 1;
}
